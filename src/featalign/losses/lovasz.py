"""Lovász-softmax: a convex surrogate of the classes' mean IoU."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from featalign.losses.cross_entropy import check_batch
from featalign.losses.probabilities import valid_probabilities
from featalign.spec import IGNORE_INDEX

Averaged = Literal["present", "all"]


def lovasz_softmax(
    logits: Tensor,
    target: Tensor,
    *,
    classes: Averaged = "present",
    per_image: bool = False,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Mean over the classes of the Lovász extension of 1 - IoU (Berman et al., CVPR 2018, equations 8 to 12).

    Args:
        logits: (B, K, ...), as for :func:`featalign.losses.cross_entropy`; the softmax is taken here.
        target: class ids (B, ...) in 0 … K-1 or ``ignore_index``.
        classes: the mean is over those that occur in the target ("present"), or over all K.
        per_image: the loss of each image, averaged over the images with a valid pixel; otherwise the batch is one set
            of pixels.

    Returns:
        A scalar in float32 (float64 for float64 logits); an attached 0 without a valid pixel.

    Raises:
        ValueError: if logits and target do not belong together, a label is of no class, or ``classes`` is neither.
    """
    if classes not in ("present", "all"):
        raise ValueError(f'got classes="{classes}"; expected "present" or "all"')
    if per_image and len(target):
        check_batch(logits, target, None, ignore_index, waits=True)
        pairs = zip(logits.split(1), target.split(1), strict=True)
        losses = torch.stack([lovasz_softmax(*pair, classes=classes, ignore_index=ignore_index) for pair in pairs])
        labelled = (target.long() != ignore_index).flatten(1).any(1)
        return losses.sum() / labelled.sum().clamp_min(1)
    probability, labels = valid_probabilities(logits, target, ignore_index)
    if labels.numel() == 0:
        return probability.sum()  # of nothing: 0, attached
    averaged = labels.unique().tolist() if classes == "present" else range(len(probability))
    return torch.stack([_extension(probability[label], labels == label) for label in averaged]).mean()


def _extension(probability: Tensor, mask: Tensor) -> Tensor:
    """The Lovász extension of 1 - IoU at the errors of one class (equation 9)."""
    errors = torch.where(mask, 1 - probability, probability)
    steps = _jaccard_steps(errors.detach(), mask)
    return (errors * steps).sum()  # as errors @ steps it would leave float32 under autocast


def _jaccard_steps(errors: Tensor, mask: Tensor) -> Tensor:
    """What each pixel adds to 1 - IoU when the pixels turn wrong one by one, largest error first (algorithm 1).

    The difference of two values near 1 would be lost in float32. Written out: a pixel of the class shrinks the
    intersection I by one, which adds 1 / U; another one makes the union U of it, which adds I / (U - 1) - I / U.
    """
    order = errors.argsort(descending=True)
    true = mask[order]
    hits, area = true.cumsum(0), true.sum()
    intersection = (area - hits).to(errors.dtype)
    union = (area + (~true).cumsum(0)).to(errors.dtype)
    steps = torch.where(true | (union == 1), 1 / union, intersection / union / (union - 1))
    return torch.empty_like(errors).scatter_(0, order, steps)
