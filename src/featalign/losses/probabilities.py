"""Softmax probabilities as the losses need them, in float32 at least."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from featalign.losses.cross_entropy import at_least_float32, check_batch


def valid_probabilities(logits: Tensor, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Probabilities (K, P) and class ids (P,) of the P valid pixels of a batch; waits for the device.

    Args:
        logits: (B, K, ...).
        target: class ids (B, ...) in 0 … K-1 or ``ignore_index``.
        ignore_index: the label that counts nowhere.

    Raises:
        ValueError: if shapes, types or labels are not such.
    """
    check_batch(logits, target, None, ignore_index, waits=True)
    target = target.long()
    valid = target != ignore_index
    return torch.softmax(at_least_float32(logits.movedim(1, 0)[:, valid]), dim=0), target[valid]


def true_class_probability(probability: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """What each pixel's true class was given (B, ...), of probabilities (B, K, ...); infinity for void pixels."""
    valid = target != ignore_index
    true = probability.gather(1, target.where(valid, 0).unsqueeze(1)).squeeze(1)
    return true.where(valid, math.inf)
