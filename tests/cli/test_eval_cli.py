"""`featalign eval`: protocols, shards that merge, two processes, what was skipped."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from featalign.cli import main
from featalign.models import create_model, save_model
from featalign.spec import Classes


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A model and a data set of five images."""
    root = tmp_path_factory.mktemp("eval")
    torch.manual_seed(0)
    save_model(create_model("fpn", classes=4, backbone="resnet10t", width=8, hidden=(12,)), root / "model")
    for part in ("images", "masks"):
        (root / "data" / "test" / part).mkdir(parents=True)
    (root / "data" / "classes.json").write_text(json.dumps(Classes.numbered(4).to_json()))
    generator = np.random.default_rng(0)
    for i in range(5):
        pixels = generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        mask = np.repeat(np.repeat(generator.integers(0, 4, (4, 5), dtype=np.uint8), 10, 0), 10, 1)
        Image.fromarray(pixels).save(root / "data" / "test" / "images" / f"{i}.png")
        Image.fromarray(mask).save(root / "data" / "test" / "masks" / f"{i}.png")
    return root


def run(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["featalign", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        main()
    return int(done.value.code or 0)


def counted(path: Path) -> dict[str, Any]:
    """Everything but what the clock and the memory said."""
    content = json.loads(path.read_text())
    for name in ("seconds_per_image", "peak_memory"):
        content.pop(name)
    content["counts"].pop("seconds")
    return content


PROTOCOL = ("--scales", "0.5,1", "--flip", "--metrics", "boundary_iou,boundary_f")


@pytest.fixture(scope="module")
def alone(root) -> Path:
    out = root / "alone.json"
    command = [sys.executable, "-m", "featalign", "eval", root / "model", "--data", root / "data", *PROTOCOL]
    done = subprocess.run([*map(str, command), "--json", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Boundary IoU" in done.stdout and "12 px" in done.stdout and "5 images" in done.stdout
    return out


def test_shards_merge_to_the_same_values(root, alone, tmp_path, monkeypatch, capsys):
    parts = [tmp_path / f"{i}.json" for i in (1, 2)]
    for i, part in enumerate(parts, start=1):
        arguments = ("eval", root / "model", "--data", root / "data", *PROTOCOL, "--shard", f"{i}/2", "--json", part)
        assert run(monkeypatch, *arguments) == 0
    assert run(monkeypatch, "merge-scores", *parts, "--json", tmp_path / "all.json") == 0
    assert counted(tmp_path / "all.json") == counted(alone)
    capsys.readouterr()
    assert run(monkeypatch, "merge-scores", parts[0], parts[0]) == 2
    assert "both parts" in capsys.readouterr().err
    assert run(monkeypatch, "merge-scores", parts[1]) == 2
    assert "shards are missing: 1/2" in capsys.readouterr().err
    content = json.loads(parts[1].read_text())
    parts[1].write_text(json.dumps({**content, "flip": False}))
    assert run(monkeypatch, "merge-scores", *parts) == 2
    assert "scored otherwise" in capsys.readouterr().err
    parts[1].write_text("[]")
    assert run(monkeypatch, "merge-scores", *parts) == 2


@pytest.mark.slow
def test_two_processes_give_the_same_values(root, alone, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out = tmp_path / "two.json"
    command = [sys.executable, "-m", "featalign", "eval", root / "model", "--data", root / "data", *PROTOCOL]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [*map(str, command), "--json", str(out)], env={**os.environ, **place, "RANK": str(i), "LOCAL_RANK": str(i)}
        )
        for i in range(2)
    ]
    for process in processes:
        process.wait(timeout=120)
    assert counted(out) == counted(alone)


def test_the_dial_of_adaptive(root, tmp_path, monkeypatch):
    found = {}
    for name, options in {
        "resized": ("--mode", "resized"),
        "0": ("--mode", "adaptive", "--effort", 0),
        "1": ("--mode", "adaptive", "--effort", 1),
        "dense": ("--mode", "dense"),
    }.items():
        out = tmp_path / f"{name}.json"
        assert run(monkeypatch, "eval", root / "model", "--data", root / "data", *options, "--json", out) == 0
        found[name] = json.loads(out.read_text())
    assert found["0"]["confusion"] == found["resized"]["confusion"] != found["dense"]["confusion"]
    assert found["1"]["confusion"] == found["dense"]["confusion"] and found["1"]["effort"] == 1


def test_wrong_options(root, monkeypatch, capsys):
    for options, part in (
        (("--metrics", "boundary"), "did you mean"),
        (("--layout", "citiscapes"), "layout"),
        (("--layout-option", "x"), "KEY=VALUE"),
        (("--shard", "0/2"), "i/n"),
        (("--max-memory", "1MiB"), "smaller windows"),
        (("--mode", "resized", "--effort", "0.2"), "adaptive"),
    ):
        assert run(monkeypatch, "eval", root / "model", "--data", root / "data", *options) == 2
        message = capsys.readouterr().err
        assert message.startswith("featalign: ") and part in message and message.count("\n") == 1, message
