"""Label maps as polygons: the exact outlines of their regions, corner by corner, or simplified.

Coordinates are (x, y) in pixels, the origin at the outer corner of the first pixel, so that a map of one region is the
rectangle (0, 0), (w, 0), (w, h), (0, h). Regions are 4-connected: pixels that only touch at a corner are two regions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from featalign.figures.simplification import simplify
from featalign.figures.tracing import Loops, trace

Ring = NDArray[np.int64]
"""(n, 2) corners (x, y), not closed: the last is joined to the first."""


class Polygon(NamedTuple):
    """A region of one class: outlined by ``exterior`` (clockwise as seen), without ``holes`` (anticlockwise).

    ``area``: of the region in pixels.
    """

    label: int
    exterior: Ring
    holes: tuple[Ring, ...]
    area: int


def polygons(
    labels: NDArray[np.integer], *, ignore: int | None = None, tolerance: float = 0.0, min_area: int = 1
) -> list[Polygon]:
    """Every region of a label map, largest first.

    Args:
        labels: class ids (H, W).
        ignore: pixels of this id belong to no region.
        tolerance: how far, in pixels, a simplified outline may lie from the exact one (Douglas and Peucker, 1973);
            0 gives exact outlines, which tile the image. Simplified neighbours may overlap or gap by this much.
        min_area: regions of fewer pixels are left out; holes of fewer pixels are filled.

    Raises:
        ValueError: unless labels are integers (H, W).
    """
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"got labels {labels.dtype} {labels.shape}; expected integer class ids (height, width)")
    loops = trace(labels, ignore=ignore)
    found = sorted(_regions(loops), key=lambda region: -region.area)
    return [_simplified(region, tolerance, min_area) for region in found if region.area >= min_area]


def _regions(loops: Loops) -> Iterator[Polygon]:
    """Loops joined: each hole belongs to the outline around it."""
    holes: dict[int, list[int]] = {}
    for index, owner in enumerate(loops.owners.tolist()):
        if owner != index:
            holes.setdefault(owner, []).append(index)
    for index in np.flatnonzero(loops.owners == np.arange(len(loops.owners))).tolist():
        inside = holes.get(index, [])
        area = int(loops.areas[index] + loops.areas[inside].sum())
        yield Polygon(int(loops.labels[index]), loops.ring(index), tuple(loops.ring(i) for i in inside), area)


def _simplified(region: Polygon, tolerance: float, min_area: int) -> Polygon:
    holes = tuple(hole for hole in region.holes if min_area <= 1 or _area(hole) >= min_area)
    if tolerance <= 0:
        return region._replace(holes=holes)
    return region._replace(
        exterior=simplify(region.exterior, tolerance), holes=tuple(simplify(hole, tolerance) for hole in holes)
    )


def _area(ring: Ring) -> float:
    x, y = ring.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
