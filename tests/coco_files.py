"""A small set of objects in COCO's files, fabricated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 16, 20


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """Uncompressed: lengths of 0, 1, 0, … down the columns."""
    flat = np.concatenate([[0], mask.T.ravel(), [1 - mask.T.ravel()[-1]]])
    changes = np.flatnonzero(np.diff(flat))
    return {"size": list(mask.shape), "counts": np.diff(np.concatenate([[0], changes])).tolist()}


def block(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def row(number: int, image: int, category: int, mask: np.ndarray, **more: Any) -> dict[str, Any]:
    (top, bottom), (left, right) = ((where.min(), where.max() + 1) for where in np.nonzero(mask))
    box = [int(value) for value in (left, top, right - left, bottom - top)]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": box,
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": run_lengths(mask),
    } | more


def made_content() -> dict[str, Any]:
    """Image 1: two objects, of which one is a polygon, and a crowd; 2: nothing; 3: a crowd alone."""
    polygon = [[10, 2, 16, 2, 16, 8, 10, 8]]
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH} for i in (1, 2, 3)],
        "categories": [{"id": 8, "name": "car"}, {"id": 3, "name": "cat"}],
        "annotations": [
            row(11, 1, 8, block(1, 1, 5, 4)),
            row(12, 1, 3, block(2, 10, 8, 16), segmentation=polygon),
            row(13, 1, 3, block(9, 0, 16, 20), iscrowd=1),
            row(14, 3, 8, block(0, 0, 9, 9), iscrowd=1),
        ],
    }


def write_files(root: Path, content: Any) -> tuple[Path, Path]:
    """Writes a JSON file and the images it lists, of noise; gives the paths of both."""
    folder = root / "images"
    folder.mkdir(exist_ok=True)
    for image in content.get("images", []):
        pixels = np.random.default_rng(image["id"]).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / image["file_name"])
    path = root / "instances.json"
    path.write_text(json.dumps(content))
    return path, folder
