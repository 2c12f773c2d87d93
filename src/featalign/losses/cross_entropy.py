"""Cross-entropy averaged over the valid pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.spec import IGNORE_INDEX


def cross_entropy(
    logits: Tensor, target: Tensor, *, ignore_index: int = IGNORE_INDEX, weight: Tensor | None = None
) -> Tensor:
    """Mean of ``-log softmax(logits)[target]`` over the pixels whose target is not ``ignore_index``.

    Equals torch's own, except that a batch without a valid pixel gives 0 with zero gradients, where the plain mean
    is 0 / 0: one crop of nothing but void would otherwise turn every weight into NaN.

    Args:
        logits: (B, K, ...), of any number of dimensions: (B, K, H, W) for maps, (B, K, N) for points. Half precision
            is raised to float32, also under autocast.
        target: class ids (B, ...) in 0 … K-1 or ``ignore_index``, of any integer type.
        weight: (K,), what a pixel of each class counts; the mean is then the weighted one.

    Returns:
        A scalar in float32 (float64 for float64 logits).

    Raises:
        ValueError: if logits, target and weight do not belong together, see :func:`check_batch`.
    """
    check_batch(logits, target, weight, ignore_index)
    target = target.long()
    logits = at_least_float32(logits)
    weight = weight if weight is None else weight.to(logits)
    total = F.cross_entropy(logits, target, weight, ignore_index=ignore_index, reduction="sum")
    valid = target != ignore_index
    counts = valid if weight is None else weight[target.where(valid, 0)] * valid
    mass = counts.sum()
    return total / mass.where(mass > 0, 1)


def at_least_float32(logits: Tensor) -> Tensor:
    """The logits in float32, or in float64 if that is what they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def check_batch(
    logits: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, *, waits: bool = False
) -> None:
    """Refuse what no loss could be computed of.

    Labels are looked at only where that is free: on the CPU, and for losses that wait for the device anyway. On a GPU
    every other loss would have to wait at each step; there PyTorch's kernel stops at such a label
    ("device-side assert").

    Args:
        logits: (B, K, ...).
        target: class ids (B, ...) in 0 … K-1 or ``ignore_index``, of any integer type.
        weight: (K,) or None.
        ignore_index: the label that counts nowhere.
        waits: whether the loss reads numbers off the device.

    Raises:
        ValueError: if shapes, types or labels are not such.
    """
    shape = tuple(logits.shape)
    if len(shape) < 2 or (shape[0], *shape[2:]) != tuple(target.shape):
        raise ValueError(
            f"got logits {shape} with target {tuple(target.shape)}; expected (B, K, ...) with (B, ...): "
            "resize the logits to the target's size, or ask the model for that size"
        )
    if weight is not None and tuple(weight.shape) != (shape[1],):
        raise ValueError(f"got weight {tuple(weight.shape)}; expected one number for each of the {shape[1]} classes")
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise ValueError(f"got target of type {target.dtype}; expected integer class ids")
    if (waits or target.device.type == "cpu") and not torch.compiler.is_compiling():
        _check_labels(target.long(), shape[1], ignore_index)


def _check_labels(target: Tensor, classes: int, ignore_index: int) -> None:
    strays = ((target < 0) | (target >= classes)) & (target != ignore_index)
    if strays.any():
        raise ValueError(
            f"got labels {target[strays].unique()[:5].tolist()} in the target; expected ids of the {classes} classes, "
            f"0 … {classes - 1}, or {ignore_index} to leave a pixel out"
        )
