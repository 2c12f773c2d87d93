"""Where a query looks on a feature map: nearest cell or blended neighbours, and the coordinate relative to each.

Convention of the whole library: a map of n cells covers [0, 1] along its axis, whatever its pitch; cell k has its
centre at (k + 1/2) / n (``align_corners=False``). The axes are independent, so everything here is said for one axis and
crossed at the end.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Taps(NamedTuple):
    """The T cells that each query takes its answer from. Every field ends in the shape (queries, T).

    ``cell``: int64 index. ``offset``: query minus cell centre in half cells, in [-1, 1] for the nearest cell (IFA's
    relative coordinate, section 3.3, in the units of the published code).
    ``weight``: the cell's share; the T shares of a query sum to 1.
    """

    cell: Tensor
    offset: Tensor
    weight: Tensor

    def unsqueeze(self, dim: int) -> Taps:
        """The same taps with one more leading axis, to broadcast against those of the other axis."""
        return Taps(*(field.unsqueeze(dim) for field in self))


def pixel_centers(count: int, *, device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """The centres of ``count`` pixels on [0, 1]: (count,)."""
    return (torch.arange(count, device=device, dtype=dtype) + 0.5) / count


def grid_period(queries: int, cells: int) -> int:
    """After how many queries of a grid their offsets to ``cells`` cells repeat: 4 for stride 4 on stride 16."""
    return queries // math.gcd(queries, cells)


def grid_taps(
    queries: int,
    cells: int,
    *,
    blend: bool = False,
    start: int = 0,
    stop: int | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Taps:
    """Taps of the queries ``start`` … ``stop`` of a grid of ``queries`` pixel centres, by exact integer arithmetic.

    Args:
        queries, cells: sizes of the two grids along this axis.
        blend: False takes the nearest cell (T = 1; a query on the border of two cells takes the latter), True the two
            nearest with their linear weights (T = 2).

    Beyond the outermost centres the map continues as a copy of its border cells, whose offsets keep growing: so offsets
    repeat with :func:`grid_period` everywhere, and a blended answer has no seam.
    """
    index = torch.arange(start, queries if stop is None else stop, device=device)
    position = (2 * index + 1) * cells  # in units of 1 / (2 queries) of a cell
    if not blend:
        cell = position.div(2 * queries, rounding_mode="floor")
        offset = (position - (2 * cell + 1) * queries).to(dtype) / queries
        return Taps(cell[:, None], offset[:, None], torch.ones_like(offset)[:, None])
    left = (position - queries).div(2 * queries, rounding_mode="floor")
    offset = (position - (2 * left + 1) * queries).to(dtype) / queries
    return _two_taps(left, offset, cells)


def point_taps(coordinates: Tensor, cells: int, *, blend: bool = False) -> Taps:
    """Taps of points at ``coordinates`` in [0, 1], any shape (…): fields (…, T). See :func:`grid_taps`.

    Points outside [0, 1] take the border cell and a growing offset.
    """
    position = coordinates * cells
    if not blend:
        cell = position.floor().clamp(0, cells - 1)
        offset = 2 * (position - cell) - 1
        return Taps(cell.long()[..., None], offset[..., None], torch.ones_like(offset)[..., None])
    left = (position - 0.5).floor()
    return _two_taps(left.long(), 2 * (position - left) - 1, cells)


def _two_taps(left: Tensor, offset: Tensor, cells: int) -> Taps:
    """``left`` and its right neighbour; ``offset`` in [0, 2] is counted from the left one's centre."""
    cell = torch.stack((left, left + 1), -1).clamp(0, cells - 1)
    share = offset / 2
    return Taps(cell, torch.stack((offset, offset - 2), -1), torch.stack((1 - share, share), -1))


def cross_cells(rows: Taps, columns: Taps, *, width: int) -> tuple[Tensor, Tensor]:
    """Cells of the flattened map with ``width`` columns, and their weights: two (…, T_rows * T_columns).

    The leading axes of ``rows`` and ``columns`` broadcast: (h, 1) against (1, w) makes a grid, (n,) against (n,) pairs
    points.
    """
    cell = rows.cell[..., :, None] * width + columns.cell[..., None, :]
    weight = rows.weight[..., :, None] * columns.weight[..., None, :]
    return cell.flatten(-2), weight.flatten(-2)


def cross_offsets(rows: Taps, columns: Taps) -> Tensor:
    """Offsets in (row, column) order, taps in the order of :func:`cross_cells`: (…, T_rows * T_columns, 2)."""
    pair = torch.broadcast_tensors(rows.offset[..., :, None], columns.offset[..., None, :])
    return torch.stack(pair, -1).flatten(-3, -2)
