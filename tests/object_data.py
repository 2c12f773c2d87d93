"""A data set of objects in COCO's layout, drawn: discs and squares on sky or grass, as instances and panoptic files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from coco_files import run_lengths
from PIL import Image

SIZE = 64
CATEGORIES = [
    {"id": 1, "name": "disc", "isthing": 1, "color": [220, 20, 60]},
    {"id": 2, "name": "square", "isthing": 1, "color": [0, 0, 142]},
    {"id": 3, "name": "sky", "isthing": 0, "color": [70, 130, 180]},
    {"id": 4, "name": "grass", "isthing": 0, "color": [0, 200, 0]},
]
COLORS = {1: (220, 60, 60), 2: (60, 60, 220), 3: (150, 190, 230), 4: (60, 140, 40)}


def write_objects(root: Path, *, images: int = 4, seed: int = 0) -> Path:
    """``annotations/{instances,panoptic}_SPLIT.json``, ``panoptic_SPLIT/*.png`` and ``SPLIT/*.png``; gives root."""
    generator = np.random.default_rng(seed)
    for split in ("train", "val"):
        for folder in (split, f"annotations/panoptic_{split}"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        shown, instances, panoptic = [], [], []
        for number in range(1, images + 1):
            segments, kinds = _scene(generator)
            name = f"{number:03}.png"
            Image.fromarray(_photo(segments, kinds, generator)).save(root / split / name)
            pixels = np.stack([segments, np.zeros_like(segments), np.zeros_like(segments)], 2).astype(np.uint8)
            Image.fromarray(pixels).save(root / "annotations" / f"panoptic_{split}" / name)
            shown.append({"id": number, "file_name": name, "height": SIZE, "width": SIZE})
            rows = [_row(segment, kind, segments == segment) for segment, kind in kinds.items()]
            panoptic.append({"image_id": number, "file_name": name, "segments_info": rows})
            instances += [
                {**row, "id": 100 * number + row["id"], "image_id": number, "segmentation": run_lengths(mask)}
                for row in rows
                if row["category_id"] < 3
                for mask in [(segments == row["id"]).astype(np.uint8)]
            ]
        things = [{"id": kind["id"], "name": kind["name"]} for kind in CATEGORIES if kind["isthing"]]
        _write(root, "instances", split, images=shown, annotations=instances, categories=things)
        _write(root, "panoptic", split, images=shown, annotations=panoptic, categories=CATEGORIES)
    return root


def _scene(generator: np.random.Generator) -> tuple[np.ndarray, dict[int, int]]:
    """Segment numbers (SIZE, SIZE), none of them 0, and the category of each."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    horizon = int(generator.integers(24, 40))
    segments = np.where(rows < horizon, 1, 2)
    kinds = {1: 3, 2: 4}
    for number, left in ((3, 0), (4, SIZE // 2)):
        kind, radius = int(generator.integers(1, 3)), int(generator.integers(8, 14))
        top, side = generator.integers(radius, SIZE - radius), left + SIZE // 4
        away = np.stack([rows - top, columns - side])
        inside = (away**2).sum(0) < radius**2 if kind == 1 else np.abs(away).max(0) < radius
        segments = np.where(inside, number, segments)
        kinds[number] = kind
    return segments, kinds


def _photo(segments: np.ndarray, kinds: dict[int, int], generator: np.random.Generator) -> np.ndarray:
    table = np.array([(0, 0, 0), *(COLORS[kinds[number]] for number in sorted(kinds))])
    return (table[segments] + generator.normal(0, 8, (SIZE, SIZE, 3))).clip(0, 255).astype(np.uint8)


def _row(segment: int, kind: int, mask: np.ndarray) -> dict[str, Any]:
    (top, bottom), (left, right) = ((where.min(), where.max() + 1) for where in np.nonzero(mask))
    box = [int(value) for value in (left, top, right - left, bottom - top)]
    return {"id": segment, "category_id": kind, "bbox": box, "area": int(mask.sum()), "iscrowd": 0}


def _write(root: Path, kind: str, split: str, **content: Any) -> None:
    (root / "annotations" / f"{kind}_{split}.json").write_text(json.dumps(content))
