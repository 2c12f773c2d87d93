"""Fractions as integers, so that sums of them are exact and the same in any order."""

from __future__ import annotations

import torch
from torch import Tensor

ONE = 1 << 40
"""The fraction 1. Sums of up to 2**23 (8 million) fractions fit int64, each of them 2**-40 (1e-12) at most too low."""


def shares(part: Tensor, whole: Tensor) -> Tensor:
    """``part / whole`` in units of 1 / :data:`ONE`, rounded down; int64 of their shape (n,). ``whole`` is above 0."""
    pairs = zip(part.tolist(), whole.tolist(), strict=True)
    return torch.tensor([p * ONE // w for p, w in pairs], dtype=torch.int64)
