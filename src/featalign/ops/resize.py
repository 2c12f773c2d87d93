"""Bilinear resizing of a part of an image to a grid, in pieces where need be."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.ops.axes import PixelAxis, pixel_axis


class LinearTaps(NamedTuple):
    """The two cells that each of n pixels along an axis lies between, and the share of the second: three (n,).

    ``align_corners``: of :func:`linear_taps`. ``whole``: the pixels are all those of the image, the cells all those of
    the map.
    """

    left: Tensor
    right: Tensor
    share: Tensor
    align_corners: bool
    whole: bool

    def part(self, start: int, stop: int) -> LinearTaps:
        """The pixels ``start`` … ``stop - 1`` alone."""
        return self._replace(
            left=self.left[start:stop],
            right=self.right[start:stop],
            share=self.share[start:stop],
            whole=self.whole and stop - start == len(self.left),
        )

    @property
    def reach(self) -> range:
        """The cells that are read."""
        return range(int(self.left[0]), int(self.right[-1]) + 1)

    def shift(self, cells: int) -> LinearTaps:
        """The same pixels with the cells counted from another one."""
        return self._replace(left=self.left + cells, right=self.right + cells, whole=self.whole and cells == 0)


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
    return LinearTaps(cell, (cell + 1).clamp(max=cells - 1), share, align_corners, axis == pixel_axis(axis.length))


def resize(maps: Tensor, rows: LinearTaps, columns: LinearTaps) -> Tensor:
    """Maps (B, C, h, w) to the pixels of ``rows`` x ``columns``: (B, C, rows, columns), in their dtype, channels last.

    For a whole image this is ``F.interpolate(maps, size, mode="bilinear")``.
    """
    image = maps.permute(0, 2, 3, 1)
    weight = rows.share.to(maps.dtype).view(-1, 1, 1)
    image = torch.lerp(image.index_select(1, rows.left), image.index_select(1, rows.right), weight)
    if columns.whole:  # the same along the rows, several times faster
        size, align_corners = (image.shape[1], len(columns.left)), columns.align_corners
        return F.interpolate(image.permute(0, 3, 1, 2), size, mode="bilinear", align_corners=align_corners)
    weight = columns.share.to(maps.dtype).view(-1, 1)
    image = torch.lerp(image.index_select(2, columns.left), image.index_select(2, columns.right), weight)
    return image.permute(0, 3, 1, 2)
