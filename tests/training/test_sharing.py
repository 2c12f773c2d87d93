"""Cards made from what a run left behind, and the command that shares it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import featalign
from featalign.cli.sharing import share_run
from featalign.errors import ConfigError, DataError
from featalign.models.card import Stated
from featalign.training import Recipe

SCORES = {"miou": 0.5, "pixel_accuracy": 0.75, "mean_accuracy": None, "iou": {"road": 0.25, "sky": None}}
EVALUATION = {
    **SCORES,
    "split": "test",
    "mode": "auto",
    "scales": [0.5, 1.0],
    "flip": True,
    "window": [64, 96],
    "input_size": None,
    "images": 12,
    "boundary": {"3px": {"miou": 0.125}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "exp"
    torch.manual_seed(0)
    model = featalign.create_model("fpn", classes=["road", "sky"], backbone="resnet10t", width=8, hidden=(8,))
    featalign.save_model(model, folder / "model")
    recipe = Recipe.from_content(
        {
            "model": {"pretrained": True, "backbone": "resnet10t"},
            "data": {"layout": "cityscapes"},
            "published": [{"paper": "IFA", "table": "1", "row": "ResNet-50", "metrics": {"miou": 78.0}}],
        }
    )
    (folder / "recipe.yaml").write_text(recipe.to_yaml())
    (folder / "metrics.json").write_text(json.dumps({"validation": {"step": 40, **SCORES}}))
    (folder / "versions.json").write_text('{"featalign": "0.0.9"}')
    (folder / "eval.json").write_text(json.dumps(EVALUATION))
    return folder


def share(run: Path, to: Path | None, *files: Path, push: str | None = None, private: bool = False) -> str:
    share_run(run, to=to, push=push, private=private, stated=Stated(data="streets"), evaluations=files)
    return (to / "README.md").read_text() if to else ""


def test_the_card_of_a_run(run, tmp_path):
    card = share(run, tmp_path / "shared", run / "eval.json")
    assert "license: apache-2.0\n" in card and "# shared\n" in card
    assert "| layout and split | cityscapes, `train` |" in card and "| data | streets |" in card
    assert "1. split `val`, during training: " in card and "after iteration 40" in card
    assert "2. split `test`, 12 images: every labelled pixel" in card
    assert "windows of 64 x 96, images at their own size, scales 0.5, 1, flip, mode resized, fp32." in card
    assert "| mIoU | 50.00 | 50.00 |" in card and "| mean accuracy | - | - |" in card
    assert "| IoU of road | 25.00 | 25.00 |" in card and "| IoU of sky | - | - |" in card
    assert "| mIoU within 3px of boundaries | - | 12.50 |" in card
    assert "Aims at IFA, table 1, ResNet-50: miou 78." in card and "| featalign | 0.0.9 |" in card
    assert featalign.load(tmp_path / "shared").classes.names == ("road", "sky")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"iterations": 18000, "interrupted": False}, "18000 of 16 crops"),
        ({"iterations": 900, "interrupted": True}, "900 of 16 crops, interrupted; the recipe has 18000"),
        ({"iterations": 900, "interrupted": False}, "900 of 16 crops, stopped early; the recipe has 18000"),
        (None, "unfinished; the recipe has 18000 of 16 crops"),
    ],
)
def test_the_card_says_how_far_the_run_got(run, tmp_path, numbers, said):
    unfinished = shutil.copytree(run, tmp_path / "run")
    (unfinished / "metrics.json").unlink()
    if numbers is not None:
        (unfinished / "metrics.json").write_text(json.dumps({"validation": None, **numbers}))
    assert f"| iterations | {said} |" in share(unfinished, tmp_path / "shared")


def test_the_card_of_a_model_folder_says_what_is_known(run, tmp_path):
    card = share(run / "model", tmp_path / "shared")
    assert "None were recorded." in card and "not stated: the stored model does not record them" in card
    assert f"| featalign | {featalign.__version__} |" in card and "license:" not in card


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "is not an object"),
        ("{", "is not JSON"),
        ('{"miou": 0.5}', "lacks flip, images, iou, mode, scales, split; expected what `featalign eval --json` writes"),
        (json.dumps({**EVALUATION, "iou": {"roads": 0.5}}), 'scores of another model, .*did you mean "road"'),
    ],
)
def test_scores_that_are_none(run, tmp_path, content, message):
    (tmp_path / "eval.json").write_text(content)
    with pytest.raises(DataError, match=message):
        share(run, tmp_path / "shared", tmp_path / "eval.json")
    assert not (tmp_path / "shared").exists()


def test_options_that_share_nothing(run, tmp_path):
    with pytest.raises(ConfigError, match="give --to DIR, --push OWNER/NAME, or both"):
        share(run, None)
    with pytest.raises(ConfigError, match="--private is of --push"):
        share(run, tmp_path / "shared", private=True)
    with pytest.raises(ConfigError, match='as owner/name, got "streets"'):
        share(run, tmp_path / "shared", push="streets")
    assert not (tmp_path / "shared").exists()
