"""Bilinear resampling of a part of an image or map, exactly as resampling the whole and cutting the part would be.

One axis at a time: each output row is a weighted sum of a few input rows, its taps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Taps(NamedTuple):
    """Where outputs of one axis read: ``cells`` (n, t) of an input of ``length`` cells, and their ``weight`` (n, t)."""

    cells: Tensor
    weight: Tensor
    length: int

    @property
    def region(self) -> tuple[int, int]:
        """The part [first, stop) of the input that is read at all."""
        return int(self.cells.min()), int(self.cells.max()) + 1

    @property
    def plain(self) -> bool:
        """Whether outputs are the inputs of the region, as they are."""
        first, stop = self.region
        count = len(self.cells)
        if stop - first != count or not bool((self.weight[:, 0] == 1).all()):
            return False
        return bool((self.cells[:, 0] == torch.arange(first, stop)).all())

    def within(self, first: int) -> Taps:
        """The same, for an input whose cells before ``first`` were cut off."""
        return Taps(self.cells - first, self.weight, self.length - first)


def resize_taps(length: int, size: int, part: range, *, aligned: bool = False) -> Taps:
    """Outputs ``part`` of ``length`` cells resized to ``size``.

    Between cell centres, averaging where it shrinks (``F.interpolate(…, antialias=True)``); or ``aligned``: first and
    last cells coincide and nothing is averaged (``align_corners=True``).
    """
    places = torch.arange(part.start, part.stop, dtype=torch.float64)
    if aligned:
        return _linear(places * ((length - 1) / max(size - 1, 1)), length)
    if size < length:
        return _averaging((places + 0.5) * (length / size), length, length / size)
    return _linear((places + 0.5) * (length / size) - 0.5, length)


def box_taps(length: int, edges: tuple[float, float], size: int) -> Taps:
    """``size`` outputs spread over the part ``edges`` in [0, 1] of ``length`` cells, read between cell centres."""
    places = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    return _linear((edges[0] + places * (edges[1] - edges[0])) * length - 0.5, length)


def resample(x: Tensor, rows: Taps, columns: Taps) -> Tensor:
    """(…, rows.length, columns.length) to (…, n, m)."""
    return _along(_along(x, rows, x.ndim - 2), columns, x.ndim - 1)


def _along(x: Tensor, taps: Taps, dim: int) -> Tensor:
    if taps.plain:
        first, stop = taps.region
        return x.narrow(dim, first, stop - first)
    index, weight = taps.cells.to(x.device), taps.weight.to(x.device, x.dtype)
    if dim != x.ndim - 1:
        weight = weight[..., None]
    result = x.index_select(dim, index[:, 0]) * weight[:, 0]
    for tap in range(1, index.shape[1]):
        result += x.index_select(dim, index[:, tap]) * weight[:, tap]
    return result


def _linear(places: Tensor, length: int) -> Taps:
    """The neighbours of each place, in cells from the first centre. Rounding must not make a whole place fractional."""
    places = ((places * 2**30).round() / 2**30).clamp(0, length - 1)
    lower = places.floor().long()
    upper = (lower + 1).clamp(max=length - 1)
    share = (places - lower).float()
    return Taps(torch.stack((lower, upper), 1), torch.stack((1 - share, share), 1), length)


def _averaging(centres: Tensor, length: int, pitch: float) -> Taps:
    """A triangle of half width ``pitch`` around each centre, cut at the border."""
    first = (centres - pitch + 0.5).floor().long().clamp(min=0)
    index = first[:, None] + torch.arange(math.ceil(2 * pitch) + 1)
    weight = (1 - (index + 0.5 - centres[:, None]).abs() / pitch).clamp(min=0)
    weight = weight.masked_fill(index >= length, 0)
    return Taps(index.clamp(max=length - 1), (weight / weight.sum(1, keepdim=True)).float(), length)
