"""The options of `train` that stand for fields of a recipe."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featalign.cli import main
from featalign.cli.training import choose_recipe

NAME = "camvid/fpn_ifa_resnet18"
SMALL = {
    "model.backbone": "resnet10t",
    "model.width": 8,
    "model.options": "{hidden: [8]}",
    "data.crop": 32,
    "data.workers": 0,
    "training.iterations": 2,
    "training.batch": 2,
    "training.validate_every": 2,
}


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    """Masks of 0 and 255, which is the most common form of two classes."""
    root = tmp_path / "data"
    for split in ("train", "val", "test"):
        for part in ("images", "masks"):
            (root / split / part).mkdir(parents=True)
        for number in range(2):
            mask = np.zeros((32, 48), np.uint8)
            mask[8:20, 10 + number : 30] = 255
            Image.fromarray(mask).save(root / split / "masks" / f"{number}.png")
            Image.fromarray(np.stack([mask // 2] * 3, 2)).save(root / split / "images" / f"{number}.png")
    classes = {"classes": [{"id": 0, "name": "background"}, {"id": 1, "name": "cell"}]}
    (root / "classes.json").write_text(json.dumps(classes))
    return root


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["featalign", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        main()
    return int(done.value.code or 0)


def test_options_go_before_overrides():
    plain = choose_recipe(NAME, ["data.cache=true"], {})
    assert (plain.data.cache, plain.training.on_nan, plain.training.deterministic) == (True, "stop", False)
    fields = {"training.on_nan": "skip", "training.deterministic": True, "data.cache": True}
    asked = choose_recipe(NAME, ["data.cache=false", "training.on_nan=stop"], fields)
    assert (asked.data.cache, asked.training.on_nan, asked.training.deterministic) == (True, "skip", True)
    assert asked.model == plain.model


def test_what_the_check_advises_trains_and_is_scored(monkeypatch, binary, tmp_path, capsys):
    """The cure of a message is an option of every command that reads the data."""
    small = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    train = ("train", NAME, "--data", binary, "--out", tmp_path / "run", "--device", "cpu", *small)
    assert run(monkeypatch, *train) == 2
    cure = '--layout-option remap="{255: 1}"'
    assert cure in " ".join(capsys.readouterr().err.split())
    option = tuple(cure.replace('"', "").split(" ", 1))
    assert run(monkeypatch, "check-data", binary, *option) == 0
    assert run(monkeypatch, *train, *option) == 0
    assert run(monkeypatch, *train, *option) == 0  # the same command again goes on
    out = tmp_path / "scores.json"
    assert run(monkeypatch, "eval", tmp_path / "run", "--data", binary, "--device", "cpu", "--json", out) == 0
    assert json.loads(out.read_text())["images"] == 2
    yaml = tmp_path / "own.yaml"
    yaml.write_text((tmp_path / "run/recipe.yaml").read_text())
    assert run(monkeypatch, "train", yaml, "--data", binary, "--out", tmp_path / "again", "--device", "cpu") == 0


def test_a_layout_of_ones_own(monkeypatch, binary, tmp_path, capsys):
    small = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    options = ("images={split}/images/{name}.png", "masks={split}/masks/{name}.png", "remap={255: 1}")
    given = [part for option in options for part in ("--layout-option", option)]
    train = ("train", NAME, "--data", binary, "--out", tmp_path / "run", "--device", "cpu", *small)
    assert run(monkeypatch, *train, "--layout", "patterns", *given) == 0
    assert "patterns" in (tmp_path / "run/recipe.yaml").read_text()
    assert run(monkeypatch, *train, "--layout", "pattern") == 2
    assert "patterns" in capsys.readouterr().err
