"""Losses of float32 logits on devices that have no float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from featalign import losses


class WithoutFloat64(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        assert all(value.dtype != torch.float64 for value in tree_leaves(result) if isinstance(value, Tensor)), function
        return result


@pytest.mark.parametrize(
    "loss",
    [
        losses.cross_entropy,
        losses.class_balanced_cross_entropy,
        partial(losses.ohem_cross_entropy, min_kept=5),
        partial(losses.ohem_cross_entropy_alignseg, min_kept=64, factor=2),
        losses.lovasz_softmax,
        partial(losses.lovasz_softmax, classes="all", per_image=True),
    ],
)
def test_no_step_needs_float64(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    logits, target = torch.randn(2, 5, 12, 12, requires_grad=True), torch.randint(5, (2, 12, 12))
    with WithoutFloat64():
        loss(logits, target).backward()
