"""Content-aware reassembly of features (CARAFE, ICCV 2019, section 3.2.2): every output cell is a weighted sum of a
square neighbourhood of the input, with weights of its own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.ops.gather import gather_sum


def carafe(x: Tensor, kernels: Tensor, *, kernel_size: int, scale: int) -> Tensor:
    """Maps (B, C, h, w) and kernels (B, kernel_size^2, scale * h, scale * w) to maps (B, C, scale * h, scale * w).

    Output cell (row, column) belongs to input cell (row // scale, column // scale) and sums the ``kernel_size`` x
    ``kernel_size`` cells around it, weighted by its column of ``kernels`` row by row: entry 0 weighs the upper left
    neighbour, the middle entry the input cell itself. Beyond the map there are zeros. The kernels are taken as they
    are; CARAFE normalizes them by a softmax before.

    Each output cell reads its neighbours once and is written once; the upsampled copies or columns of the
    neighbourhood, ``kernel_size^2`` times the size of a map, are never made.

    Raises:
        ValueError: for an even ``kernel_size``, or kernels of another shape.
    """
    batch, _, height, width = x.shape
    if kernel_size < 1 or kernel_size % 2 == 0 or scale < 1:
        raise ValueError(f"expected an odd kernel_size and a scale of at least 1, got {kernel_size} and {scale}")
    expected = (batch, kernel_size**2, scale * height, scale * width)
    if kernels.shape != expected:
        raise ValueError(f"expected kernels {expected} for maps {tuple(x.shape)}, got {tuple(kernels.shape)}")
    margin = kernel_size // 2
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, margin, margin, margin, margin))
    cells = _neighbours((height, width), kernel_size, scale, x.device)
    shares = kernels.permute(0, 2, 3, 1).flatten(1, 2)
    rows = gather_sum([padded.flatten(1, 2)], [cells], [shares])
    return rows.unflatten(1, (scale * height, scale * width)).permute(0, 3, 1, 2)


def _neighbours(size: tuple[int, int], kernel_size: int, scale: int, device: torch.device) -> Tensor:
    """The cells of the flattened padded map that each output cell reads: (1, outputs, kernel_size^2)."""
    taps = torch.arange(kernel_size, device=device)
    rows, columns = (torch.arange(scale * side, device=device)[:, None] // scale + taps for side in size)
    cells = rows[:, None, :, None] * (size[1] + kernel_size - 1) + columns[None, :, None, :]
    return cells.flatten(2).flatten(0, 1)[None]
