"""Targets that no loss can be computed of: one clear error, whatever the loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from featalign.losses import (
    class_balanced_cross_entropy,
    cross_entropy,
    dice_loss,
    lovasz_softmax,
    ohem_cross_entropy,
    ohem_cross_entropy_alignseg,
)

LOSSES = {
    "balanced": class_balanced_cross_entropy,
    "cross_entropy": cross_entropy,
    "dice": dice_loss,
    "lovasz": lovasz_softmax,
    "lovasz of images": partial(lovasz_softmax, per_image=True),
    "ohem": partial(ohem_cross_entropy, min_kept=5),
    "ohem_alignseg": partial(ohem_cross_entropy_alignseg, min_kept=64, factor=2),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@every_loss
@pytest.mark.parametrize("label", [7, 5, -1])
def test_labels_of_no_class(loss: Callable[..., Tensor], label: int) -> None:
    target = torch.full((2, 6, 6), 255)
    target[1, 2, 3] = label
    with pytest.raises(ValueError, match=rf"labels \[{label}\] in the target; expected ids of the 5 classes, 0 … 4"):
        loss(torch.zeros(2, 5, 6, 6), target)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_targets_that_are_no_integers(loss: Callable[..., Tensor], dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"target of type {dtype}; expected integer class ids"):
        loss(torch.zeros(2, 5, 6, 6), torch.ones(2, 6, 6, dtype=dtype))


@every_loss
def test_shapes_that_do_not_belong_together(loss: Callable[..., Tensor]) -> None:
    with pytest.raises(ValueError, match="resize the logits"):
        loss(torch.zeros(2, 5, 6, 6), torch.zeros(3, 6, 6, dtype=torch.long))


@every_loss
def test_a_void_label_among_the_ids_is_left_out(loss: Callable[..., Tensor]) -> None:
    target = torch.zeros(2, 6, 6, dtype=torch.uint8)  # of any integer type
    target[0] = 200
    assert loss(torch.zeros(2, 5, 6, 6), target, ignore_index=200).isfinite()


@every_loss
def test_the_last_id_of_a_byte_is_not_minus_one(loss: Callable[..., Tensor]) -> None:
    logits, target = torch.randn(2, 256, 6, 6), torch.full((2, 6, 6), 255)
    target[0] = 7
    assert loss(logits, target.byte(), ignore_index=-1) == loss(logits, target, ignore_index=-1)
