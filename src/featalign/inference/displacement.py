"""What aligners predict, in one unit: (x, y) from an output cell to where it reads, in output cells."""

from __future__ import annotations

import torch
from torch import Tensor

from featalign.ops.warp import Sampling, offset_units


def in_cells(offset: Tensor, cells: tuple[int, int], sampling: Sampling) -> Tensor:
    """An offset (B, 2, H, W) of :func:`~featalign.ops.warp.warp` over a map of ``cells`` (h, w), in output cells.

    Under ``corrected`` that is its own unit. An output cell is the distance of two places where a zero offset reads.
    """
    height, width = offset.shape[-2:]
    unit_x, unit_y = offset_units(sampling, cells, (height, width))
    factors = max(width - 1, 1) / 2 / unit_x, max(height - 1, 1) / 2 / unit_y
    return offset * torch.tensor(factors, dtype=offset.dtype, device=offset.device)[:, None, None]


def mean_displacement(offset: Tensor, mask: Tensor) -> Tensor:
    """Where deformable taps look on average, weighted by their factors: (B, 2, h, w) in (x, y), in cells.

    Args:
        offset: (B, taps * 2, h, w), (row, col) of each tap of each group; the taps' own places in the kernel, which
            cancel out, are not in it.
        mask: (B, taps, h, w), positive factors.
    """
    taps = offset.unflatten(1, (-1, 2))
    weights = mask / mask.sum(1, keepdim=True)
    return (taps * weights[:, :, None]).sum(1).flip(1)
