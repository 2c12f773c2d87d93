"""Reading a map at points by bilinear interpolation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_at(maps: Tensor, points: Tensor) -> Tensor:
    """Values of ``maps`` (B, C, h, w) at ``points`` (B or 1, …, 2), (x, y) in [0, 1]: (B, C, …) in the maps' dtype.

    Bilinear between cell centres (``align_corners=False``): cell k of n has its centre at (k + 1/2) / n, and the
    outermost cells reach to the border and beyond it. At the pixel centres of a grid this is what
    ``F.interpolate(…, mode="bilinear", align_corners=False)`` computes.

    Positions are never rounded to half precision: a half-precision map is sampled in float32 and cast back.
    """
    dtype = torch.float64 if maps.dtype == torch.float64 else torch.float32
    grid = (2 * points.to(dtype) - 1).flatten(1, -2)[:, :, None].expand(maps.shape[0], -1, -1, -1)
    values = F.grid_sample(maps.to(dtype), grid, padding_mode="border", align_corners=False)
    return values.reshape(*values.shape[:2], *points.shape[1:-1]).to(maps.dtype)
