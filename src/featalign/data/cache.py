"""Decoded samples in memory: in what form, and how many of them fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featalign.data.deep import npy_shape
from featalign.data.files import File
from featalign.data.pairs import Pair
from featalign.data.reading import opened
from featalign.errors import DataError
from featalign.memory import free_memory

SHARE = 0.5
"""Part of the free memory that is taken."""
_PROBED = 16
"""Images whose headers are read to estimate the size of all."""


@dataclass(frozen=True)
class Stored:
    """A sample decoded: image (H, W, C) and class ids (H, W) in the smallest type that holds them."""

    image: NDArray[np.integer]
    mask: NDArray[np.integer]


def smallest(ids: NDArray[np.integer]) -> NDArray[np.integer]:
    """The same ids with as few bytes as hold them."""
    low, high = int(ids.min(initial=0)), int(ids.max(initial=0))
    fitting = next(t for t in (np.uint8, np.uint16, np.int64) if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return ids.astype(fitting)


def fitting(samples: Sequence[Pair], *, channels: int, depth: int, max_pixels: int) -> tuple[int, tuple[str, ...]]:
    """How many samples may be kept in memory, and a note if those are not all."""
    free = free_memory()
    if free is None or not samples:
        return len(samples), ()
    each = _mean_pixels(samples, max_pixels) * (channels * depth // 8 + 1)
    count = min(len(samples), int(SHARE * free / each) if each else len(samples))
    if count == len(samples):
        return count, ()
    return count, (
        f"{count} of {len(samples)} samples are kept in memory: all would take about {_gib(each * len(samples))}, of "
        f"{_gib(free)} free; the others are decoded each time",
    )


def _mean_pixels(samples: Sequence[Pair], max_pixels: int) -> float:
    """Over a few images; those whose header cannot be read are left to complain when they are asked for."""
    step = max(1, len(samples) // _PROBED)
    sizes = []
    for pair in samples[::step]:
        try:
            sizes.append(_pixels(pair.image, max_pixels))
        except DataError:
            continue
    return sum(sizes) / len(sizes) if sizes else 0


def _pixels(file: File, max_pixels: int) -> int:
    if file.suffix.lower() == ".npy":
        height, width = npy_shape(file)[:2]
        return height * width
    with opened(file, max_pixels=max_pixels) as image:
        return image.height * image.width


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
