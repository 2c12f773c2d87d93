"""Online hard example mining: cross-entropy over the pixels that the model still gets wrong or hardly right."""

from __future__ import annotations

import torch
from torch import Tensor

from featalign.losses.cross_entropy import at_least_float32, check_batch, cross_entropy
from featalign.losses.probabilities import true_class_probability
from featalign.spec import IGNORE_INDEX


def ohem_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    threshold: float = 0.7,
    min_kept: int = 100_000,
    ignore_index: int = IGNORE_INDEX,
    weight: Tensor | None = None,
) -> Tensor:
    """Cross-entropy averaged over the hard pixels of the whole batch.

    A pixel is hard if the probability of its true class is at most ``threshold``. If fewer than ``min_kept`` pixels
    are, the threshold rises to the probability of the ``min_kept``-th hardest (pixels equal to it are kept too); with
    fewer than ``min_kept`` valid pixels all of them are kept. ``min_kept=0`` switches the mining off: plain
    cross-entropy. This is the definition of IFA's published training code (the paper's section 4.2 names OHEM only);
    unlike there, a batch without a valid pixel gives an attached 0.

    Args:
        logits: (B, K, ...), as for :func:`featalign.losses.cross_entropy`.
        target: class ids (B, ...) in 0 … K-1 or ``ignore_index``.
        threshold: probability in [0, 1].
        min_kept: pixels of the whole batch, not of each image.
        weight: (K,), what a kept pixel of each class counts in the mean; the mining does not see it.

    Raises:
        ValueError: if logits, target and weight do not belong together, or threshold or min_kept is out of range.
    """
    if not 0 <= threshold <= 1 or min_kept < 0:
        raise ValueError(f"got threshold={threshold}, min_kept={min_kept}; expected 0 <= threshold <= 1, min_kept >= 0")
    check_batch(logits, target, weight, ignore_index)
    target = target.long()
    if min_kept and target.numel():
        kept = _hard_pixels(logits.detach(), target, threshold, min_kept, ignore_index)
        target = target.where(kept, ignore_index)
    return cross_entropy(logits, target, ignore_index=ignore_index, weight=weight)


def _hard_pixels(logits: Tensor, target: Tensor, threshold: float, min_kept: int, ignore_index: int) -> Tensor:
    """Mask of the pixels to keep, shape of target; void pixels may be in it.

    Void pixels get probability infinity. If too few pixels are valid, the ``min_kept``-th hardest is then a void one
    and the threshold infinite, which keeps every valid pixel without asking the device how many there are.
    """
    probability = torch.softmax(at_least_float32(logits), dim=1)
    probability = true_class_probability(probability, target, ignore_index)
    hardest = probability.flatten().kthvalue(min(min_kept, target.numel())).values
    return ~(probability > hardest.clamp_min(threshold))  # nan is kept: the loss must not hide it
