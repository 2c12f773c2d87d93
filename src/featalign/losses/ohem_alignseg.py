"""Online hard example mining as AlignSeg's published code has it: the threshold is found on a coarser grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.losses.cross_entropy import at_least_float32, check_batch, cross_entropy
from featalign.losses.probabilities import true_class_probability
from featalign.spec import IGNORE_INDEX


def ohem_cross_entropy_alignseg(
    logits: Tensor,
    target: Tensor,
    *,
    threshold: float = 0.7,
    min_kept: int = 100_000,
    factor: int = 8,
    ignore_index: int = IGNORE_INDEX,
    weight: Tensor | None = None,
) -> Tensor:
    """Cross-entropy averaged over the hard pixels of the whole batch (``OhemCrossEntropy2d`` of AlignSeg's code).

    A pixel is hard if the probability of its true class is at most a threshold. That is found on maps sampled
    ``factor`` times more coarsely per side, probabilities bilinearly and labels by the nearest, corners on corners:
    the probability of the hardest pixel number ``min_kept // factor**2`` there, but at least ``threshold``; 1, which
    keeps every pixel, if no more than that many are valid there. About ``min_kept`` pixels are kept, not exactly.

    It differs from :func:`featalign.losses.ohem_cross_entropy` (IFA's) in that coarse grid and in ``min_kept=0``, which
    keeps what is at most ``threshold`` and nothing more. AlignSeg's training script never uses it: its option "ohem"
    selects cross-entropy plus 0.8 times :func:`featalign.losses.lovasz_softmax`.

    Args:
        logits: (B, K, ...), as for :func:`featalign.losses.cross_entropy`.
        target: class ids (B, ...) in 0 … K-1 or ``ignore_index``.
        threshold: probability in [0, 1].
        min_kept: pixels of the whole batch.
        factor: at least 1. Points, (B, K, N), have no grid: their threshold is found on all of them, as with 1.
        weight: (K,), what a kept pixel of each class counts in the mean; the mining does not see it.

    Raises:
        ValueError: if logits, target and weight do not belong together, or a number is out of range.
    """
    if not 0 <= threshold <= 1 or min_kept < 0 or factor < 1:
        raise ValueError(
            f"got threshold={threshold}, min_kept={min_kept}, factor={factor}; "
            "expected 0 <= threshold <= 1, min_kept >= 0, factor >= 1"
        )
    check_batch(logits, target, weight, ignore_index)
    target = target.long()
    if target.numel():
        probability = torch.softmax(at_least_float32(logits.detach()), dim=1)
        found = _found_threshold(probability, target, threshold, min_kept, factor, ignore_index)
        easy = true_class_probability(probability, target, ignore_index) > found
        target = target.masked_fill(easy, ignore_index)  # nan is kept: the loss must not hide it
    return cross_entropy(logits, target, ignore_index=ignore_index, weight=weight)


def _found_threshold(
    probability: Tensor, target: Tensor, threshold: float, min_kept: int, factor: int, ignore_index: int
) -> Tensor:
    """A scalar; nothing waits for the device."""
    if target.ndim == 3 and factor > 1:
        size = [max(1, round(side / factor)) for side in target.shape[1:]]
        probability = F.interpolate(probability, size=size, mode="bilinear", align_corners=True)
        target = _nearest(target, size)
        min_kept //= factor**2
    true = true_class_probability(probability, target, ignore_index).flatten()
    hardest = true.kthvalue(min(max(min_kept, 1), true.numel())).values.clamp_min(threshold)
    few = (target != ignore_index).sum() <= min_kept
    return hardest.masked_fill(few, 1.0) if min_kept else true.new_tensor(threshold)


def _nearest(labels: Tensor, size: list[int]) -> Tensor:
    """The labels at ``size`` points per axis spread from the first cell's centre to the last one's; halves go up."""
    for axis, (old, new) in enumerate(zip(labels.shape[1:], size, strict=True), start=1):
        steps = max(new - 1, 1)
        index = (2 * torch.arange(new, device=labels.device) * (old - 1) + steps) // (2 * steps)
        labels = labels.index_select(axis, index)
    return labels
