"""Bands around the boundaries between classes: where alignment shows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.spec import IGNORE_INDEX


def boundary_band(target: Tensor, width: int, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """The pixels at most ``width`` pixels away from a pixel of another class.

    Distance is Chebyshev's: a pixel belongs to the band if the window of ``2 * width + 1`` pixels around it, cut at
    the image's border, holds two classes. Void pixels neither belong to a band nor cause one, so nothing happens where
    a class meets void; a void strip narrower than ``width`` does not part two classes either.

    Args:
        target: class ids (..., H, W) of any integer type, or ``ignore_index``.
        width: in pixels of the target, at least 1. Width 1 takes the two pixels on either side of an edge.

    Returns:
        bool, shape and device of the target.

    Raises:
        ValueError: if width is below 1 or the target has fewer than two dimensions.
    """
    if width < 1 or target.ndim < 2:
        raise ValueError(f"got width {width}, target {tuple(target.shape)}; expected width >= 1, target (..., H, W)")
    if target.numel() == 0:
        return torch.zeros_like(target, dtype=torch.bool)
    valid = target != ignore_index
    # Two classes in the window <=> its largest id differs from its smallest. Ids below 2**24 are exact in float32.
    ids = target.reshape(-1, 1, *target.shape[-2:]).float()
    void = ~valid.reshape(ids.shape)
    largest, negated_smallest = (
        _window_max(signed.masked_fill(void, -torch.inf), width).reshape(target.shape) for signed in (ids, -ids)
    )
    return valid & (largest != -negated_smallest)


def boundary_target(target: Tensor, width: int, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """The target with everything outside :func:`boundary_band` set to ``ignore_index``: what boundary scores count."""
    return target.masked_fill(~boundary_band(target, width, ignore_index), ignore_index)


def _window_max(maps: Tensor, width: int) -> Tensor:
    """Maximum over the window of ``2 * width + 1`` pixels around each, rows first and then columns. Maps are NCHW."""
    side = 2 * width + 1
    maps = F.max_pool2d(maps, (side, 1), stride=1, padding=(width, 0))
    return F.max_pool2d(maps, (1, side), stride=1, padding=(0, width))
