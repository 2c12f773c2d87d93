"""Bilinear resizing of a part of an image to a grid, in pieces where need be."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.ops.axes import PixelAxis
from featalign.ops.precision import coordinate_dtype


class LinearTaps(NamedTuple):
    """The two cells that each of n pixels along an axis lies between, and the share of the second: three (n,).

    ``align_corners``, ``cells``: of :func:`linear_taps`. ``grid``: of how many pixels over all of the map these are the
    first; 0 if of none.
    """

    left: Tensor
    right: Tensor
    share: Tensor
    align_corners: bool
    cells: int
    grid: int

    def part(self, start: int, stop: int) -> LinearTaps:
        """The pixels ``start`` … ``stop - 1`` alone."""
        return self._replace(
            left=self.left[start:stop],
            right=self.right[start:stop],
            share=self.share[start:stop],
            grid=self.grid if stop - start == len(self.left) else 0,
        )

    @property
    def reach(self) -> range:
        """The cells that are read, or all where that is faster."""
        return range(self.cells) if self.grid else range(int(self.left[0]), int(self.right[-1]) + 1)

    def shift(self, cells: int) -> LinearTaps:
        """The same pixels with the cells counted from another one."""
        return self._replace(left=self.left + cells, right=self.right + cells, grid=0 if cells else self.grid)


def linear_taps(
    axis: PixelAxis,
    cells: int,
    *,
    align_corners: bool = False,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> LinearTaps:
    """Taps of the pixels of ``axis`` on a map of ``cells`` cells that covers the image.

    With ``align_corners`` the centres of the outermost pixels of the whole image lie on those of the outermost cells;
    otherwise both reach from border to border, and the map continues as a copy of its outermost cells.
    """
    centre = axis.centres(dtype=torch.float64)
    if align_corners:
        pixels = axis.whole / axis.step  # of the whole image at this pitch
        position = (centre * pixels - 0.5) * ((cells - 1) / max(pixels - 1, 1e-9) if pixels > 1 else 0)
    else:
        position = centre * cells - 0.5
    position = position.clamp(0, cells - 1)
    left = position.floor().clamp(max=max(cells - 2, 0))
    cell = left.long().to(device)
    share = (position - left).to(device, dtype)
    return LinearTaps(cell, (cell + 1).clamp(max=cells - 1), share, align_corners, cells, axis.leads)


def linear_taps_of(
    rows: PixelAxis, columns: PixelAxis, maps: Tensor, *, align_corners: bool = False
) -> tuple[LinearTaps, LinearTaps]:
    """Both of :func:`linear_taps` on ``maps`` (B, C, h, w), on their device and in no less than single precision."""
    y, x = (
        linear_taps(axis, cells, align_corners=align_corners, device=maps.device, dtype=coordinate_dtype(maps))
        for axis, cells in zip((rows, columns), maps.shape[-2:], strict=True)
    )
    return y, x


def resize_at_once(maps: Tensor, rows: PixelAxis, columns: PixelAxis, *, align_corners: bool = False) -> Tensor:
    """Maps (B, C, h, w) to all pixels of ``rows`` x ``columns`` of what they show; see :func:`linear_taps`."""
    grid = rows.leads, columns.leads
    if not all(grid):
        return resize(maps, *linear_taps_of(rows, columns, maps, align_corners=align_corners))
    answer = F.interpolate(maps, grid, mode="bilinear", align_corners=align_corners)
    size = rows.length, columns.length
    return answer if grid == size else answer[..., : size[0], : size[1]]


def resize(maps: Tensor, rows: LinearTaps, columns: LinearTaps) -> Tensor:
    """Maps (B, C, h, w) to the pixels of ``rows`` x ``columns``: (B, C, rows, columns), in their dtype, channels last.

    For a whole image this is ``F.interpolate(maps, size, mode="bilinear")``.
    """
    if torch.compiler.is_exporting():
        return _along(_along(maps, columns, -1), rows, -2)
    image = maps.permute(0, 2, 3, 1)
    weight = rows.share.to(maps.dtype).view(-1, 1, 1)
    image = torch.lerp(image.index_select(1, rows.left), image.index_select(1, rows.right), weight)
    if columns.grid and image.shape[-1]:  # the same along the rows, several times faster
        size, align_corners = (image.shape[1], columns.grid), columns.align_corners
        grid = F.interpolate(image.permute(0, 3, 1, 2), size, mode="bilinear", align_corners=align_corners)
        return grid[..., : len(columns.left)]
    weight = columns.share.to(maps.dtype).view(-1, 1)
    image = torch.lerp(image.index_select(2, columns.left), image.index_select(2, columns.right), weight)
    return image.permute(0, 3, 1, 2)


def _along(maps: Tensor, taps: LinearTaps, dim: int) -> Tensor:
    """Maps resized along one axis in the layout and the steps that runtimes of exported programs are fastest with."""
    step = torch.cat((maps.narrow(dim, 1, maps.shape[dim] - 1), maps.narrow(dim, -1, 1)), dim) - maps
    share = taps.share.to(maps.dtype)
    share = share if dim == -1 else share[:, None]
    return maps.index_select(dim, taps.left) + share * step.index_select(dim, taps.left)


def resize_coarse(maps: Tensor, rows: PixelAxis, columns: PixelAxis) -> Tensor:
    """:func:`resize_at_once` by products with matrices of weights, for maps of few cells in exported programs.

    Runtimes multiply faster than they gather: 32 cells along an axis take a fifth of the time, 128 half of it.
    """
    if rows.leads and columns.leads:
        return resize_at_once(maps, rows, columns)
    y, x = (_weights(taps) for taps in linear_taps_of(rows, columns, maps))
    return y.to(maps.dtype).mT @ (maps @ x.to(maps.dtype))


def _weights(taps: LinearTaps) -> Tensor:
    """The share of each cell in each pixel: (cells, n)."""
    cell = torch.arange(taps.cells, device=taps.left.device)[:, None]
    share = taps.share
    return torch.where(cell == taps.left, 1 - share, 0) + torch.where(cell == taps.right, share, 0)
