"""Cross-entropy in which rare classes count as much as frequent ones."""

from __future__ import annotations

import torch
from torch import Tensor

from featalign.losses.cross_entropy import check_batch, cross_entropy
from featalign.spec import IGNORE_INDEX


def class_balanced_cross_entropy(logits: Tensor, target: Tensor, *, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """The mean cross-entropy of each class's pixels, averaged over the classes that occur in the batch.

    AlignSeg names a "class-balanced cross-entropy loss" for both of its outputs (section 4.4) without a formula, and
    its code has plain cross-entropy there; this is the balance by the batch's own pixels that gave the name (Xie & Tu,
    ICCV 2015, equation 2, of which this is the form for K classes). A class with a single pixel weighs as much as one
    with a thousand: for weights that do not change from batch to batch see :func:`balanced_weights`.

    Args:
        logits: (B, K, ...), as for :func:`featalign.losses.cross_entropy`.
        target: class ids (B, ...) in 0 … K-1 or ``ignore_index``.

    Raises:
        ValueError: if logits and target do not belong together, or a label is of no class.
    """
    check_batch(logits, target, None, ignore_index, waits=True)
    target = target.long()
    pixels = torch.bincount(target[target != ignore_index].flatten(), minlength=logits.shape[1])
    dtype = torch.promote_types(logits.dtype, torch.float32)  # not every device has float64
    return cross_entropy(logits, target, ignore_index=ignore_index, weight=1 / pixels.clamp_min(1).to(dtype))


def balanced_weights(pixels: Tensor) -> Tensor:
    """Weights of the classes for :func:`featalign.losses.cross_entropy`: median frequency over the class's frequency.

    Eigen & Fergus (ICCV 2015, section 6.3.2), but with frequencies over the whole split. A class without a pixel
    weighs 1.

    Args:
        pixels: how many pixels each class has in the training split, (K,).

    Returns:
        float32 (K,).
    """
    counts = pixels.double()
    occurs = counts > 0
    if not occurs.any():
        return torch.ones(len(pixels))
    weights = counts[occurs].quantile(0.5) / counts.clamp_min(1)
    return weights.where(occurs, 1).float()
