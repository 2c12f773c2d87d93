"""Windows around every pixel of integer maps: maxima and unions, exact, in about log2(side) passes each."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Combine = Callable[[Tensor, Tensor], Tensor]


def window_max(maps: Tensor, reach: int) -> Tensor:
    """Maximum over the square of ``2 * reach + 1`` pixels around each, cut at the border. Integer maps (..., H, W)."""
    lowest = torch.iinfo(maps.dtype).min
    for axis in (-2, -1):
        maps = _running(maps, reach, axis, torch.maximum, lowest)
    return maps


def disk_union(bits: Tensor, radius: float) -> Tensor:
    """Bitwise or over the disk of the pixels whose centres are at most ``radius`` away. Integer maps (..., H, W).

    The disk is a stack of rows: from its top row to its widest, the map is widened by what each row adds and laid over
    the result, shifted up and down.
    """
    height, reach = bits.shape[-2], math.floor(radius)
    union, widened, width = torch.zeros_like(bits), bits, 0
    for shift in range(reach, -1, -1):
        half = math.isqrt(math.floor(radius**2 - shift**2))
        widened, width = _running(widened, half - width, -1, torch.bitwise_or, 0), half
        rows = height - shift
        if rows > 0:
            union.narrow(-2, shift, rows).bitwise_or_(widened.narrow(-2, 0, rows))
            union.narrow(-2, 0, rows).bitwise_or_(widened.narrow(-2, shift, rows))
    return union


def _running(maps: Tensor, reach: int, axis: int, combine: Combine, neutral: int) -> Tensor:
    """``combine`` over ``2 * reach + 1`` neighbours along one axis: the span doubles with every pass."""
    reach = min(reach, maps.shape[axis] - 1)
    border = (reach, reach) if axis == -1 else (0, 0, reach, reach)
    maps = F.pad(maps, border, value=neutral)
    span, side = 1, 2 * reach + 1
    while span < side:
        step = min(span, side - span)
        rest = maps.shape[axis] - step
        maps = combine(maps.narrow(axis, 0, rest), maps.narrow(axis, step, rest))
        span += step
    return maps
