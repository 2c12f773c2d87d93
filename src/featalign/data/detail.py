"""Masks in the annotation file of PASCAL in Detail (``trainval_merged.json``): objects and regions as run lengths."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featalign.data.files import Entry, File
from featalign.data.images import Loaded
from featalign.data.reading import check_pixels, naming
from featalign.data.run_lengths import decompressed
from featalign.errors import DataError

Region = tuple[int, dict[str, Any]]
"""Category number, and the run lengths."""


@dataclass(frozen=True)
class DetailImage:
    """What the file says of one image."""

    phase: str
    size: tuple[int, int]
    regions: tuple[Region, ...]


@lru_cache(maxsize=2)
def detail_images(file: File) -> dict[str, DetailImage]:
    """The images of an annotation file by name, without suffix. Raises DataError naming the file."""
    with naming(file):
        content = json.loads(file.read_bytes())
        if not isinstance(content, dict) or not {"images", "annos_segmentation"} <= content.keys():
            raise DataError("is not PASCAL in Detail's trainval_merged.json: no images or no annos_segmentation")
        regions: dict[int, list[Region]] = {}
        for one in content["annos_segmentation"]:
            regions.setdefault(one["image_id"], []).append((one["category_id"], one["segmentation"]))
        return {
            str(image["file_name"]).rpartition(".")[0]: DetailImage(
                image["phase"], (image["height"], image["width"]), tuple(regions.get(image["image_id"], ()))
            )
            for image in content["images"]
        }


def load_detail(entry: File, max_pixels: int) -> Loaded:
    """One image's category numbers, uint16 (H, W), 0 where nothing is; of regions that overlap, the last counts."""
    if not isinstance(entry, Entry):
        raise TypeError(f"expected an entry of an annotation file, got {entry}")
    image = detail_images(entry.file)[entry.key]
    with naming(entry):
        check_pixels(*image.size, max_pixels=max_pixels)
        values = np.zeros(image.size, np.uint16)
        for category, runs in image.regions:
            values[decode_runs(runs)] = category
        return Loaded(values)


def decode_runs(runs: dict[str, Any]) -> NDArray[np.bool_]:
    """COCO's run lengths, ``{"size": [H, W], "counts": text or list}``, column by column, as a mask (H, W)."""
    height, width = runs["size"]
    counts = runs["counts"] if isinstance(runs["counts"], list) else decompressed(runs["counts"])
    if sum(counts) != height * width or min(counts, default=0) < 0:
        raise ValueError(f"run lengths of {sum(counts)} pixels for {height} x {width}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T
