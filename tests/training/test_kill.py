"""SIGKILL at any moment: the same command again ends with the same bytes as a run that was never killed."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training.kills import left, plan, run_plans

from featalign.training import Recipe

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
KILLED = -9
WRITING = ["training/checkpoints.py", "featalign/files.py", "models/storage.py"]
STEPS = ["training.iterations=8", "training.batch=2", "training.checkpoint_every=2", "training.validate_every=3"]
VARIED = [*STEPS, "training.ema=0.8", "training.query=mixed", "training.accumulate=2", "training.warmup=2"]


def anywhere(rng: random.Random) -> dict[str, Any]:
    return {"rank": 0, "call": rng.uniform(0.05, 0.3)}


def while_writing(rng: random.Random) -> dict[str, Any]:
    """The first checkpoints and models of an attempt make some hundred calls."""
    return {"rank": 0, "call": rng.randrange(1, 250), "watch": WRITING}


def test_killed_runs_end_as_if_they_were_not(tmp_path: Path, tiny: Callable[..., Recipe], scenes: Path) -> None:
    """Once while a checkpoint is written and once anywhere."""
    recipe = tiny(*VARIED)
    in_checkpoint = {"rank": 0, "call": 40, "watch": WRITING}
    whole = plan(tmp_path, recipe, scenes, "whole", None)
    killed = plan(tmp_path, recipe, scenes, "killed", in_checkpoint, {"rank": 0, "call": 0.4}, None)
    ((once,), (*kills, last)), _ = run_plans(tmp_path, [whole, killed])
    assert once["codes"] == last["codes"] == [0]
    assert [kill["codes"] for kill in kills] == [[KILLED], [KILLED]]
    assert left(tmp_path / "killed") == left(tmp_path / "whole")


@pytest.mark.slow
def test_twenty_random_kills(tmp_path: Path, tiny: Callable[..., Recipe], scenes: Path) -> None:
    """Five runs of five attempts each; a kill may fall behind the end of one that has little left to do."""
    rng = random.Random(0)
    recipe = tiny(*VARIED, "training.iterations=14")
    plans = [plan(tmp_path, recipe, scenes, "whole", None)]
    for number in range(5):
        kills = [chosen(rng) for chosen in (anywhere, while_writing, anywhere, while_writing, anywhere)]
        plans.append(plan(tmp_path, recipe, scenes, f"run{number}", *kills, None))
    results, _ = run_plans(tmp_path, plans, timeout=1800)
    codes = [attempt["codes"][0] for run in results[1:] for attempt in run]
    print(codes)
    assert set(codes) <= {KILLED, 0}
    assert codes.count(KILLED) >= 20
    wanted = left(tmp_path / "whole")
    for number in range(5):
        assert left(tmp_path / f"run{number}") == wanted
