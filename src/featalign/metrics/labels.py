"""Class ids as the metrics take them: checked, on one device, and void wherever the truth is."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Labels = Tensor | NDArray[np.integer]
VOID = -1
"""Marks void pixels in the maps of :func:`image_pairs`. The ignore index itself may be the id of a class, which can be
predicted where the truth is not void."""
_SCARCE = (torch.uint16, torch.uint32, torch.uint64)  # types that torch hardly calculates with


def label_pair(pred: Labels, target: Labels, ignore_index: int = 0) -> tuple[Tensor, Tensor]:
    """Both as integer tensors of one shape, on the target's device, the target in a type that has ``ignore_index``.

    Raises:
        ValueError: if they are not such.
    """
    pred, target = as_labels("pred", pred), as_labels("target", target, ignore_index)
    if pred.shape != target.shape:
        raise ValueError(f"got pred {tuple(pred.shape)} and target {tuple(target.shape)}; expected equal shapes")
    return pred.to(target.device), target


def as_labels(name: str, labels: Labels, ignore_index: int = 0) -> Tensor:
    """The labels as a tensor of a type that has ``ignore_index``.

    torch compares modulo the range of a type, in which 255 of uint8 is -1.

    Raises:
        ValueError: unless they are integers.
    """
    tensor = torch.as_tensor(labels)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"got {name} of type {tensor.dtype}; expected integer class ids: logits.argmax(1) gives them")
    known = torch.iinfo(tensor.dtype)
    fits = known.min <= ignore_index <= known.max and tensor.dtype not in _SCARCE
    return tensor if fits else tensor.long()


def image_pairs(pred: Labels, target: Labels, classes: int, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Maps (B, H, W) of one image or of a batch, int32, checked; both hold :data:`VOID` where ``target`` is void.

    Raises:
        ValueError: if the two are not maps of one shape and of at least one pixel, or a valid pixel has an id outside
            0 … ``classes`` - 1.
    """
    pred, target = label_pair(pred, target, ignore_index)
    if target.ndim not in (2, 3):
        raise ValueError(f"got labels {tuple(target.shape)}; boundaries and instances need maps (H, W) or (B, H, W)")
    if 0 in target.shape[-2:]:
        raise ValueError(f"got labels {tuple(target.shape)}; expected maps of at least one pixel")
    valid = target != ignore_index
    for name, labels in (("target", target), ("pred", pred)):
        if (((labels < 0) | (labels >= classes)) & valid).any():
            raise ValueError(out_of_range(name, labels[valid], classes, ignore_index))
    pairs = (labels.int().masked_fill(~valid, VOID) for labels in (pred, target))
    first, second = (labels.reshape(-1, *labels.shape[-2:]) for labels in pairs)
    return first, second


def out_of_range(name: str, valid: Tensor, classes: int, ignore_index: int) -> str:
    """The message about ids that belong to no class; ``valid`` are the labels of the valid pixels."""
    strays = valid[(valid < 0) | (valid >= classes)]
    ids = strays.unique()[:5].tolist()
    return (
        f"{name} has {len(strays)} valid pixels outside 0 … {classes - 1} (ids {ids}); "
        f"expected ids of the {classes} classes, or {ignore_index} in the target to leave a pixel out"
    )
