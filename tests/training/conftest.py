from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from featalign.training import Recipe

TINY = ["model.backbone=resnet10t", "model.width=16", "data.crop=64", "data.workers=0", "training.log_every=1"]


@pytest.fixture
def tiny() -> Callable[..., Recipe]:
    """``tiny("training.lr=1")``: a recipe for a network and crops of the smallest size, with overrides."""
    return lambda *overrides: Recipe().with_overrides([*TINY, *overrides])


@pytest.fixture
def quiet() -> Console:
    return Console(quiet=True)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Four training and two validation images of bright boxes on dark ground, of different odd sizes, void on top."""
    root = tmp_path / "scenes"
    for split, count in (("train", 4), ("val", 2)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for i in range(count):
            image, mask = box(41 + 2 * i, 52, left=10 + 5 * i, seed=i)
            Image.fromarray(image).save(root / split / "images" / f"{split}{i}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"{split}{i}.png")
    classes = [{"id": 0, "name": "ground"}, {"id": 1, "name": "box"}]
    (root / "classes.json").write_text(json.dumps({"classes": classes}))
    return root


def box(height: int, width: int, *, left: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 image (H, W, 3) and mask (H, W)."""
    mask = np.zeros((height, width), np.uint8)
    mask[12:32, left : left + 18] = 1
    noise = np.random.default_rng(seed).integers(0, 20, (height, width, 3))
    image = (40 + 80 * mask[..., None] + noise).astype(np.uint8)
    mask[:4] = 255
    return image, mask
