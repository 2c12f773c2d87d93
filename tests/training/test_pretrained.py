"""A recipe whose backbone has weights: images are normalized as these expect it, and in the stored model too."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch

from featalign.models import load_model, save_model
from featalign.spec import Classes, Normalization
from featalign.training import Recipe
from featalign.training.objects import build_detector
from featalign.training.semantic import build_model

BACKBONE = "mobilenetv4_conv_small_050"
HALF = (0.5, 0.5, 0.5)
CLASSES = Classes.numbered(2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "backbone.pth"
    torch.save(timm.create_model(BACKBONE).state_dict(), file)
    return file


def recipe(weights: Path | None, **sections: Any) -> Recipe:
    model = {
        "backbone": BACKBONE,
        "pretrained": str(weights) if weights else False,
        "width": 16,
        **sections.pop("model", {}),
    }
    return Recipe.from_content({"model": model, **sections})


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "resumed"])
def test_network(weights: Path, tmp_path: Path, fresh: bool, depth: int) -> None:
    model = build_model(recipe(weights, data={"depth": depth}), CLASSES, pretrained=fresh)
    assert model.normalization == Normalization(HALF, HALF, 2**depth - 1)
    save_model(model, tmp_path)
    assert load_model(tmp_path).normalization == model.normalization


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "resumed"])
def test_detector(weights: Path, fresh: bool) -> None:
    chosen = recipe(weights, model={"name": "retinanet", "align": "add", "options": {"min_size": 64}})
    splits: Any = SimpleNamespace(classes=CLASSES, things=None)
    assert build_detector(chosen, splits, pretrained=fresh).normalization == Normalization(HALF, HALF)


def test_from_scratch() -> None:
    assert build_model(recipe(None), CLASSES).normalization == Normalization()
