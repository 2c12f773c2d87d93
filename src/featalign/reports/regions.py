"""Regions of an image that one prediction resolves and another does not (IFA, Fig. 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from featalign.figures.differences import Box, busiest_window
from featalign.figures.palette import Labels

SIDE = 5
"""A region is sought in windows of this part of the image, by side."""
LEAST = 0.02
"""Part of such a window that must differ for a region to be worth a box."""


@dataclass(frozen=True)
class Region:
    """``box``: (left, top, right, bottom) in pixels; ``run``: which resolves it; ``pixels``: how many of it."""

    box: Box
    run: Literal["a", "b"]
    pixels: int


def resolved_regions(truth: Labels, a: Labels, b: Labels, *, ignore_index: int, count: int = 2) -> list[Region]:
    """Where one prediction is right and the other wrong: at most ``count`` regions for each, most pixels first.

    Regions of one run do not overlap each other in what they count; their boxes are as small as what they hold.

    Args:
        truth: class ids (H, W), or ``ignore_index``.
        a, b: predictions (H, W).
        ignore_index: pixels of the truth that count nowhere.
        count: of regions for each run.
    """
    valid = truth != ignore_index
    found = [
        *_regions(valid & (a == truth) & (b != truth), "a", count),
        *_regions(valid & (b == truth) & (a != truth), "b", count),
    ]
    return sorted(found, key=lambda region: -region.pixels)


def _regions(telling: NDArray[np.bool_], run: Literal["a", "b"], count: int) -> list[Region]:
    rest, found = telling.copy(), []
    rows, columns = (max(1, side // SIDE) for side in rest.shape)
    for _ in range(count):
        left, top, right, bottom = busiest_window(rest, rows, columns)
        window = rest[top:bottom, left:right]
        pixels = int(window.sum())
        if pixels < max(1, LEAST * rows * columns):
            break
        down, across = np.flatnonzero(window.any(1)), np.flatnonzero(window.any(0))
        box = (left + int(across[0]), top + int(down[0]), left + int(across[-1]) + 1, top + int(down[-1]) + 1)
        found.append(Region(box, run, pixels))
        window[:] = False
    return found
