"""Outlines of the regions of a label map, all at once.

Every border between a pixel and a neighbour of another label is an edge that belongs to the pixel, directed so that the
pixel lies to its right (rows count downwards). Where an edge ends, the labels of the two pixels ahead say which edge of
the same region follows; so the edges are a permutation, and its cycles are the outlines. Cycles are told apart and put
in order by pointer doubling, in O(n log n) steps over arrays, never edge by edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# Directions of edges: 0 right (the pixel's top border), 1 down (its right), 2 left (its bottom), 3 up (its left).
_STEP = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
"""(row, column) one ahead in each direction."""
_START = np.array([[0, 0], [0, 1], [1, 1], [1, 0]])
"""(row, column) of the corner where a pixel's edge begins, relative to the pixel's first corner."""


@dataclass(frozen=True)
class Loops:
    """Closed outlines. ``labels``: of the region inside each; ``areas``: enclosed, in pixels, negative for holes;
    ``owners``: index of the outer outline of the same region (its own for an outer one)."""

    labels: Ints
    areas: Ints
    owners: Ints
    corners: Ints
    starts: Ints

    def ring(self, index: int) -> Ints:
        """Its corners (n, 2), (x, y)."""
        return self.corners[self.starts[index] : self.starts[index + 1]]


@dataclass(frozen=True)
class _Edges:
    """``pixel`` (n, 2): row and column in the padded map; ``direction`` (n); ``index``: (4, rows, columns) to edge."""

    pixel: Ints
    direction: Ints
    index: Ints


def trace(labels: NDArray[np.integer], *, ignore: int | None = None) -> Loops:
    """The outlines of all 4-connected regions of a label map (H, W), without those of ``ignore``."""
    outside = -1
    padded = np.pad(labels.astype(np.int64), 1, constant_values=outside)
    if ignore is not None:
        padded[padded == ignore] = outside
    edges = _edges(padded, outside)
    following = _following(padded, edges)
    leader, rank = _cycles(following)
    return _loops(padded, edges, following, leader, rank)


def _edges(padded: Ints, outside: int) -> _Edges:
    inside = padded != outside
    exists = np.zeros((4, *padded.shape), dtype=bool)
    for direction, (row, column) in enumerate(np.roll(_STEP, 1, axis=0).tolist()):  # what lies to an edge's left
        exists[direction] = inside & (padded != np.roll(padded, (-row, -column), (0, 1)))
    sides, row, column = (axis.astype(np.int64) for axis in np.nonzero(exists))
    index = np.full(exists.shape, -1, dtype=np.int64)
    index[exists] = np.arange(len(sides))
    return _Edges(np.stack((row, column), 1), sides, index)


def _following(padded: Ints, edges: _Edges) -> Ints:
    """The edge that comes next: right where the pixel ahead is of another region, left where that across is not."""
    here = padded[tuple(edges.pixel.T)]
    ahead = edges.pixel + _STEP[edges.direction]
    across = ahead + _STEP[(edges.direction - 1) % 4]
    right = padded[tuple(ahead.T)] != here
    left = ~right & (padded[tuple(across.T)] == here)
    pixel = np.where(right[:, None], edges.pixel, np.where(left[:, None], across, ahead))
    direction = (edges.direction + right - left) % 4
    return edges.index[direction, pixel[:, 0], pixel[:, 1]]


def _cycles(following: Ints) -> tuple[Ints, Ints]:
    """The smallest edge of each edge's cycle, and the number of steps from the edge to it (the cycle's length for
    itself)."""
    leader, ahead = np.arange(len(following)), following
    while not np.array_equal(leader, smaller := np.minimum(leader, leader[ahead])):
        leader, ahead = smaller, ahead[ahead]
    steps, ahead = np.ones(len(following), dtype=np.int64), following
    while not (arrived := ahead == leader).all():
        steps = np.where(arrived, steps, steps + steps[ahead])
        ahead = np.where(arrived, ahead, ahead[ahead])
    return leader, steps


def _loops(padded: Ints, edges: _Edges, following: Ints, leader: Ints, steps: Ints) -> Loops:
    order = np.lexsort((-steps, leader))
    leaders, starts = np.unique(leader[order], return_index=True)
    loop = np.searchsorted(leaders, leader)
    turns = np.ones(len(order), dtype=bool)
    turns[following] = edges.direction[following] != edges.direction
    corners = edges.pixel[order] + _START[edges.direction[order]] - 1  # without the padding
    areas = np.zeros(len(leaders), dtype=np.int64)
    # The sum of x dy along the outline is its area.
    np.add.at(areas, loop[order], corners[:, 1] * _STEP[edges.direction[order], 0])
    kept = turns[order]
    counts = np.bincount(loop[order][kept], minlength=len(leaders))
    return Loops(
        labels=padded[tuple(edges.pixel[order][starts].T)] if len(order) else np.zeros(0, dtype=np.int64),
        areas=areas,
        owners=_owners(padded, edges, loop, areas),
        corners=corners[kept][:, ::-1],
        starts=np.concatenate(([0], np.cumsum(counts))),
    )


def _owners(padded: Ints, edges: _Edges, loop: Ints, areas: Ints) -> Ints:
    """Holes belong to what lies to their left: from a hole's leftmost edge, the run of pixels to its left begins at an
    edge of another loop of the same region, which reaches further left; repeated, this ends at the outer outline."""
    owners = np.arange(len(areas))
    holes = np.flatnonzero(areas < 0)
    if not len(holes):
        return owners
    columns = np.arange(padded.shape[1])
    begins = np.concatenate((np.ones((len(padded), 1), dtype=bool), padded[:, 1:] != padded[:, :-1]), 1)
    first = np.maximum.accumulate(np.where(begins, columns, 0), axis=1)
    down = np.flatnonzero((edges.direction == 1) & (areas[loop] < 0))
    down = down[np.lexsort((edges.pixel[down, 1], loop[down]))]
    _, leftmost = np.unique(loop[down], return_index=True)
    row, column = edges.pixel[down[leftmost]].T
    owners[holes] = loop[edges.index[3, row, first[row, column]]]
    while bool((areas[owners] < 0).any()):
        owners = np.where(areas[owners] < 0, owners[owners], owners)
    return owners
