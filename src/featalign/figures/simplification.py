"""Rings of points with fewer points (Douglas and Peucker, 1973)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def simplify(ring: NDArray[np.int64], tolerance: float) -> NDArray[np.int64]:
    """Corners (n, 2) of a closed ring, of which those are left out that lie within ``tolerance`` of the line without
    them; the ring itself where fewer than three would be left."""
    opposite = int(((ring - ring[0]) ** 2).sum(1).argmax())
    closed = np.concatenate((ring, ring[:1]))
    keep = np.zeros(len(closed), dtype=bool)
    keep[[0, opposite]] = True
    pending = [(0, opposite), (opposite, len(ring))]
    while pending:
        first, last = pending.pop()
        if last - first < 2:
            continue
        distances = _distances(closed[first + 1 : last], closed[first], closed[last])
        farthest = int(distances.argmax())
        if distances[farthest] > tolerance:
            middle = first + 1 + farthest
            keep[middle] = True
            pending += [(first, middle), (middle, last)]
    kept = ring[keep[:-1]]
    return kept if len(kept) >= 3 else ring


def _distances(points: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.float64]:
    """From points to the segment between two of them."""
    along, offset = (end - start).astype(np.float64), (points - start).astype(np.float64)
    length = float(along @ along)
    place = np.clip(offset @ along / length, 0, 1) if length else np.zeros(len(points))
    gap = offset - place[:, None] * along
    return np.hypot(gap[:, 0], gap[:, 1])
