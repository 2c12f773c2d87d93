"""The demonstration, shortened to seconds."""

from __future__ import annotations

import io
import json

from PIL import Image
from rich.console import Console

from featalign.demo import run_demo

SHORT = ["training.iterations=3", "training.batch=2", "data.crop=[48, 64]", "data.workers=0", "model.width=8"]


def test_demo_trains_scores_and_draws(tmp_path):
    shown = io.StringIO()
    counts = {"train": 4, "val": 2, "test": 2}
    result = run_demo(tmp_path / "demo", overrides=SHORT, counts=counts, console=Console(file=shown, width=120))
    assert set(result.scores) == {"bilinear", "IFA"}
    for by_size in result.scores.values():
        pixels = [int(found.matrix.sum()) for found in by_size.values()]
        assert pixels == [2 * 48 * 64, 2 * 192 * 256]
    assert "boundary mIoU at 192x256" in shown.getvalue()
    with Image.open(result.figure) as figure:
        assert figure.width > 1000
    content = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert content["IFA"]["192x256"]["miou"] == result.scores["IFA"][4].scores.miou
    for name in ("bilinear", "ifa"):
        assert (tmp_path / "demo" / "runs" / name / "model" / "model.safetensors").is_file()
