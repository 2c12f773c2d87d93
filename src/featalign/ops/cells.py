"""Where a query looks on a feature map: nearest cell or blended neighbours, and the coordinate relative to each.

Convention of the whole library: a map of n cells covers [0, 1] along its axis, whatever its pitch; cell k has its
centre at (k + 1/2) / n (``align_corners=False``). The axes are independent, so everything here is said for one axis and
crossed at the end.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from featalign.ops.axes import PixelAxis


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

    def select(self, queries: Tensor) -> Taps:
        """The taps of some of the queries, by their index."""
        return Taps(*(field[queries] for field in self))

    def shift(self, cells: int) -> Taps:
        """The same taps with the cells counted from another one."""
        return self._replace(cell=self.cell + cells)


def grid_taps(
    axis: PixelAxis,
    cells: int,
    *,
    blend: bool = False,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Taps:
    """Taps of the pixels of ``axis`` on a map of ``cells`` cells, by exact integer arithmetic.

    Args:
        blend: False takes the nearest cell (T = 1; a query on the border of two cells takes the latter), True the two
            nearest with their linear weights (T = 2; 1 where every query is on a cell's centre).

    Beyond the outermost centres the map continues with copies of its border cells, each with a centre of its own: so
    offsets repeat with :meth:`~featalign.ops.axes.PixelAxis.period` everywhere, and a blended answer has no seam.
    """
    _, first, step, whole = axis
    position = (first + step * torch.arange(axis.length, device=device)) * cells  # in units of 1 / whole of a cell
    if not blend or (not torch.compiler.is_exporting() and axis.on_centres(cells)):
        cell = position.div(whole, rounding_mode="floor")
        offset = (2 * (position - cell * whole) - whole).to(dtype) / whole
        return Taps(cell[:, None], offset[:, None], torch.ones_like(offset)[:, None])
    # Counted one cell further left: not every runtime of exported programs rounds negative quotients down.
    left = (2 * position + whole).div(2 * whole, rounding_mode="floor") - 1
    offset = (2 * position - (2 * left + 1) * whole).to(dtype) / whole
    return _two_taps(left, offset, cells)


def nearest(maps: Tensor, rows: PixelAxis, columns: PixelAxis) -> Tensor:
    """Maps (B, C, h, w) at the pixels of ``rows`` x ``columns``, each from its nearest cell: (B, C, rows, columns)."""
    for dim, axis in ((-2, rows), (-1, columns)):
        maps = maps.index_select(dim, grid_taps(axis, maps.shape[dim], device=maps.device).cell[:, 0])
    return maps


def point_taps(coordinates: Tensor, cells: int, *, blend: bool = False) -> Taps:
    """Taps of points at ``coordinates`` in [0, 1], any shape (…): fields (…, T). See :func:`grid_taps`.

    Points outside [0, 1] take the border cell; their offsets keep growing for the nearest cell, and for ``blend``
    repeat from cell to cell.
    """
    position = coordinates * cells
    if not blend:
        cell = position.floor().clamp(0, cells - 1).long()  # in this order: no integer holds the farthest points
        offset = 2 * (position - cell) - 1
        return Taps(cell[..., None], offset[..., None], torch.ones_like(offset)[..., None])
    left = (position - 0.5).floor()
    return _two_taps(left.clamp(-1, cells - 1).long(), 2 * (position - left) - 1, cells)


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
