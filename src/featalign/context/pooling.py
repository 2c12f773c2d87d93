"""Means over the cells of a small grid laid on a map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pool_to_bins(x: Tensor, bins: int) -> Tensor:
    """Maps (B, C, h, w), h and w of any size from 1, to the means over ``bins`` x ``bins`` cells: (B, C, bins, bins).

    Of n rows cell i covers those from floor(i * n / bins) to before ceil((i + 1) * n / bins), as in
    ``F.adaptive_avg_pool2d``.
    In a program that is exported the means are two matrix products: what PyTorch makes of its own operator for ONNX
    keeps the size that it was traced at.
    """
    if not torch.compiler.is_exporting():
        return F.adaptive_avg_pool2d(x, bins)
    rows, columns = (_shares(count, bins, x) for count in x.shape[-2:])
    return rows @ x @ columns.T


class PoolToBins(torch.nn.Module):
    """:func:`pool_to_bins` as a layer."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        return pool_to_bins(x, self.bins)

    def extra_repr(self) -> str:
        return str(self.bins)


def _shares(count: int, bins: int, like: Tensor) -> Tensor:
    """What each of ``count`` rows adds to each cell's mean: (bins, count)."""
    cell = torch.arange(bins, device=like.device)[:, None]
    row = torch.arange(count, device=like.device)
    # floor(i n / b) <= row < ceil((i + 1) n / b), without a division
    inside = (cell * count < (row + 1) * bins) & (row * bins < (cell + 1) * count)
    return (inside / inside.sum(1, keepdim=True)).to(like.dtype)
