"""Prediction on a Ray cluster of this machine: the files of one process, and whatever an image does to its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from featalign.errors import ConfigError
from featalign.inference import cluster
from featalign.inference.cluster import DIED, ImageJob, Workers, predict_on_cluster
from featalign.models import create_model, save_model


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(ConfigError, match=r"pip install 'featalign\[ray\]'"):
        cluster.require_ray()


def command(root: Path, out: str, *options: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "featalign", "predict", "model", "images", "--out", out, *options]
    return subprocess.run(arguments, cwd=root, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_command_writes_what_one_process_writes(tmp_path):
    pytest.importorskip("ray.data", reason="pip install 'featalign[ray]'")
    torch.manual_seed(0)
    save_model(create_model("fpn", classes=4, backbone="resnet10t", width=8, hidden=(12,)), tmp_path / "model")
    (tmp_path / "images").mkdir()
    for i in range(5):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 50 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
    bad = tmp_path / "images" / "3.png"
    bad.write_bytes(bad.read_bytes()[:900])
    assert command(tmp_path, "local", "--probabilities").returncode == 2
    done = command(tmp_path, "ray", "--probabilities", "--engine", "ray", "--workers", "2")
    assert done.returncode == 2 and "4 of 5 images" in done.stdout and "3.png" in done.stderr
    local, ray = (
        {str(path.relative_to(tmp_path / out)): path.read_bytes() for path in (tmp_path / out).rglob("*.*")}
        for out in ("local", "ray")
    )
    one, other = (json.loads(files.pop("failures.jsonl")) for files in (local, ray))
    assert one == other and one["image"] == "images/3.png"
    assert len(local) == 4 * 3 + 1 and local == ray
    again = command(tmp_path, "ray", "--probabilities", "--engine", "ray", "--mode", "resized", "--resume")
    assert again.returncode == 2 and "other settings (mode)" in again.stderr


@pytest.mark.slow
def test_an_image_that_ends_its_process_is_recorded_and_loses_no_other(tmp_path):
    pytest.importorskip("ray.data", reason="pip install 'featalign[ray]'")
    import ray

    def make() -> ImageJob:
        def job(image: Path) -> str | None:
            with (tmp_path / f"{image.stem}.tries").open("a") as tries:
                tries.write("x")
            if image.stem == "poison":
                os._exit(1)
            if image.stem == "bug":
                raise RuntimeError("sizes differ")
            return "is damaged" if image.stem == "damaged" else None

        return job

    names = ("a", "poison", "b", "bug", "c", "damaged", "d")
    images = [Path(f"{name}.png") for name in names]
    try:
        found = predict_on_cluster(make, images, tmp_path, workers=Workers(2, cpus=0.5))
        with pytest.raises(ConfigError, match="a worker takes 999 GPU"):
            predict_on_cluster(make, images, tmp_path, workers=Workers(gpus=999))
    finally:
        ray.shutdown()
    assert found == {
        Path("poison.png"): f"poison.png: {DIED}",
        Path("bug.png"): "bug.png: RuntimeError: sizes differ",
        Path("damaged.png"): "damaged.png: is damaged",
    }
    assert {name: (tmp_path / f"{name}.tries").read_text() for name in names} == {
        name: "xx" if name == "poison" else "x" for name in names
    }
