"""Dice loss: 1 minus the overlap of probabilities and truth, class by class."""

from __future__ import annotations

import torch
from torch import Tensor

from featalign.losses.probabilities import valid_probabilities
from featalign.spec import IGNORE_INDEX


def dice_loss(logits: Tensor, target: Tensor, *, smooth: float = 1.0, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Mean of ``1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)`` over the classes that occur in the target.

    p is the softmax probability of the class and t is 1 where it is true, else 0; the sums run over the valid pixels of
    the whole batch (Sudre et al. 2017, section 2, without weights; Milletari et al. 2016 square p and t below).

    Args:
        logits: (B, K, ...), as for :func:`featalign.losses.cross_entropy`; the softmax is taken here.
        target: class ids (B, ...) in 0 … K-1 or ``ignore_index``.
        smooth: in pixels, at least 0; calms classes of a few pixels.

    Returns:
        A scalar in float32 (float64 for float64 logits); an attached 0 without a valid pixel.

    Raises:
        ValueError: if logits and target do not belong together, a label is of no class, or smooth is negative.
    """
    if smooth < 0:
        raise ValueError(f"got smooth={smooth}; expected >= 0")
    probability, labels = valid_probabilities(logits, target, ignore_index)
    if labels.numel() == 0:
        return probability.sum()  # of nothing: 0, attached
    # In float32 millions would not add up; MPS has nothing finer.
    exact = probability.dtype if probability.is_mps else torch.float64
    right = probability.gather(0, labels.unsqueeze(0)).squeeze(0).to(exact)
    overlap = right.new_zeros(len(probability)).index_add(0, labels, right)
    mass, pixels = probability.sum(1, dtype=exact), torch.bincount(labels, minlength=len(probability))
    dice = (2 * overlap + smooth) / (mass + pixels + smooth)
    return (1 - dice[pixels > 0]).mean().to(probability.dtype)
