"""A set of queries against a pyramid: which cells each reads in every level, and at which relative coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from featalign.ops.cells import Taps, cross_cells, cross_offsets, grid_period, grid_taps, point_taps


class Queries(NamedTuple):
    """N queries with T taps in each level. Leading axis: B, or 1 where the whole batch is asked alike.

    ``cells``, ``shares``: per level (B or 1, N, T), index into the flattened map and weight.
    ``offsets``, ``offset_shares``: per level the P distinct relative coordinates, (B or 1, P, T, 2) in (row, column)
    order and half cells, and their weights (B or 1, P, T).
    ``phase``: (1, N, 1), which of the P each query has.
    """

    cells: list[Tensor]
    shares: list[Tensor]
    offsets: list[Tensor]
    offset_shares: list[Tensor]
    phase: Tensor


def grid_queries(
    size: tuple[int, int],
    shapes: Sequence[tuple[int, int]],
    *,
    blend: bool = False,
    band: range | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Queries:
    """The pixel centres of a grid of ``size``, row by row, or of its rows ``band``.

    Relative coordinates repeat over a regular grid (P = 64 when strides 4 … 32 are asked at stride 4), so each is
    listed once.
    """
    band = range(size[0]) if band is None else band
    down, across = (math.lcm(*(grid_period(size[axis], shape[axis]) for shape in shapes)) for axis in (0, 1))

    def taps(axis: int, cells: int, start: int, stop: int) -> Taps:
        found = grid_taps(size[axis], cells, blend=blend, start=start, stop=stop, device=device, dtype=dtype)
        return found.unsqueeze(1 - axis)

    reads = [cross_cells(taps(0, h, band.start, band.stop), taps(1, w, 0, size[1]), width=w) for h, w in shapes]
    tile = [(taps(0, h, 0, down), taps(1, w, 0, across)) for h, w in shapes]
    row = torch.arange(band.start, band.stop, device=device) % down
    column = torch.arange(size[1], device=device) % across
    return Queries(
        cells=[cell.flatten(0, 1)[None] for cell, _ in reads],
        shares=[share.flatten(0, 1)[None] for _, share in reads],
        offsets=[cross_offsets(*pair).flatten(0, 1)[None] for pair in tile],
        offset_shares=[cross_cells(*pair, width=1)[1].flatten(0, 1)[None] for pair in tile],
        phase=(row[:, None] * across + column).view(1, -1, 1),
    )


def point_queries(points: Tensor, shapes: Sequence[tuple[int, int]], *, blend: bool = False) -> Queries:
    """Any points (B or 1, N, 2), (x, y) in [0, 1]; every point has its own relative coordinates (P = N)."""
    x, y = points.unbind(-1)
    taps = [(point_taps(y, h, blend=blend), point_taps(x, w, blend=blend), w) for h, w in shapes]
    reads = [cross_cells(rows, columns, width=w) for rows, columns, w in taps]
    return Queries(
        cells=[cell for cell, _ in reads],
        shares=[share for _, share in reads],
        offsets=[cross_offsets(rows, columns) for rows, columns, _ in taps],
        offset_shares=[share for _, share in reads],
        phase=torch.arange(points.shape[1], device=points.device).view(1, -1, 1),
    )
