"""Two machines, as far as torchrun can tell: two agents on this one, that meet at a port and start a process each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from training.harness import free_port
from training.kills import left, plan, run_plans

from featalign.training import Recipe

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="needs gloo and fork")]
STEPS = ["training.iterations=4", "training.batch=4", "training.checkpoint_every=2", "training.validate_every=3"]


def on_two_nodes(*commands: Sequence[str]) -> list[tuple[int, str]]:
    """``featalign …`` on each node: exit code and standard error."""
    meeting = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--local-addr", "127.0.0.1"]
    meeting += ["--rdzv-id", "test", "--rdzv-endpoint", f"127.0.0.1:{free_port()}"]
    agent = [sys.executable, "-m", "torch.distributed.run", *meeting, "-m", "featalign.cli"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    nodes = [
        subprocess.Popen([*agent, *command], stderr=subprocess.PIPE, text=True, env=environment) for command in commands
    ]
    said = [node.communicate(timeout=300)[1] for node in nodes]
    return [(node.returncode, text) for node, text in zip(nodes, said, strict=True)]


def test_two_nodes_end_as_two_processes_do(tmp_path: Path, tiny: Callable[..., Recipe], scenes: Path) -> None:
    reference = plan(tmp_path, tiny(*STEPS), scenes, "whole", None, processes=2)
    run_plans(tmp_path, [reference])
    command = ["train", reference["recipe"], "--data", str(scenes), "--out", str(tmp_path / "run")]
    found = on_two_nodes(command, command)
    assert [code for code, _ in found] == [0, 0], found
    assert sum("best mIoU" in text or "step 4  validation" in text for _, text in found) == 1, "one of them speaks"
    assert left(tmp_path / "run") == left(tmp_path / "whole")


def test_what_fails_on_one_node_ends_both(tmp_path: Path, tiny: Callable[..., Recipe], scenes: Path) -> None:
    recipe, out = tmp_path / "recipe.yaml", str(tmp_path / "run")
    recipe.write_text(tiny(*STEPS).to_yaml())
    good = ["train", str(recipe), "--data", str(scenes), "--out", out]
    bad = ["train", str(recipe), "--data", str(tmp_path / "nowhere"), "--out", out]
    (first, said), (second, why) = on_two_nodes(good, bad)
    assert first != 0 and second != 0
    assert "of 2: stopped, because process" in said
    assert f"of 2: {tmp_path / 'nowhere'}: is neither a folder nor a zip file" in why
