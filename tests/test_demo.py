"""The demonstration, shortened to seconds."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image
from rich.console import Console

from featalign.demo import run_demo
from featalign.errors import ConfigError
from featalign.training import load_recipe

SHORT = ["training.iterations=3", "training.batch=2", "data.crop=[48, 64]", "data.workers=0", "model.width=8"]


def test_demo_trains_scores_and_draws(tmp_path):
    shown = io.StringIO()
    counts = {"train": 4, "val": 2, "test": 2}
    result = run_demo(tmp_path / "demo", overrides=SHORT, counts=counts, console=Console(file=shown, width=120))
    assert set(result.scores) == {"bilinear", "FSM + IFA"}
    for by_size in result.scores.values():
        pixels = [int(found.matrix.sum()) for found in by_size.values()]
        assert pixels == [2 * 48 * 64, 2 * 192 * 256]
    assert "boundary mIoU at 192x256" in shown.getvalue()
    with Image.open(result.figure) as figure:
        assert figure.width > 1000
    content = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert content["FSM + IFA"]["192x256"]["miou"] == result.scores["FSM + IFA"][4].scores.miou
    for name in ("fpn_bilinear", "fpn_fapn_ifa"):
        assert (tmp_path / "demo" / "runs" / name / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "file", ["runs/fpn_fapn_ifa/recipe.yaml", "runs/fpn_bilinear/log.jsonl", "figure.png", "results.json"]
)
def test_what_is_of_no_demonstration_is_not_replaced(tmp_path, file):
    theirs = tmp_path / file
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text(load_recipe("camvid/fpn_ifa_resnet18").to_yaml())
    before = theirs.read_text()
    with pytest.raises(ConfigError, match="is of no demonstration and would be replaced; choose another --out"):
        run_demo(tmp_path, overrides=SHORT, counts={"train": 4, "val": 2, "test": 2}, console=Console(quiet=True))
    assert theirs.read_text() == before


def test_an_earlier_demonstration_is_replaced(tmp_path, monkeypatch):
    (tmp_path / "runs/fpn_fapn_ifa").mkdir(parents=True)
    changed = load_recipe("demo/fpn_fapn_ifa").with_overrides(SHORT)
    (tmp_path / "runs/fpn_fapn_ifa/recipe.yaml").write_text(changed.to_yaml())
    (tmp_path / "figure.png").write_bytes(b"")

    def begun(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("featalign.demo.train", begun)
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path, counts={"train": 1, "val": 1, "test": 1}, console=Console(quiet=True))
