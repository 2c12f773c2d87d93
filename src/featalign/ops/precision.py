"""In which types positions and answers are computed, in half precision and under autocast."""

from __future__ import annotations

import torch
from torch import Tensor


def coordinate_dtype(values: Tensor) -> torch.dtype:
    """Of positions on a map of ``values``: never half precision, in which neighbouring queries would fall together."""
    return torch.promote_types(values.dtype, torch.float32)


def result_dtype(values: Tensor) -> torch.dtype:
    """What a convolution of ``values`` answers in: their type, or under autocast its own, but for float64."""
    device = values.device.type
    cast = torch.is_autocast_enabled(device) and values.dtype != torch.float64
    return torch.get_autocast_dtype(device) if cast else values.dtype
