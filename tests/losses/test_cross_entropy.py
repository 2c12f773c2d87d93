from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.losses import cross_entropy


def make_batch(*shape: int, classes: int = 5, void: float = 0.2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(shape[0], classes, *shape[1:], generator=generator) * 2
    target = torch.randint(classes, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < void] = 255
    return logits, target


def loop_cross_entropy(logits: Tensor, target: Tensor, weight: list[float]) -> float:
    total = mass = 0.0
    rows = logits.movedim(1, -1).reshape(-1, len(weight)).tolist()
    for scores, label in zip(rows, target.flatten().tolist(), strict=True):
        if label != 255:
            total -= weight[label] * (scores[label] - math.log(sum(math.exp(score) for score in scores)))
            mass += weight[label]
    return total / mass


@pytest.mark.parametrize("shape", [(2, 5, 7), (3, 11), (4,), (1, 2, 3, 2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_a_naive_loop_and_torch(shape: tuple[int, ...], weighted: bool) -> None:
    logits, target = make_batch(*shape)
    weight = torch.tensor([0.5, 1.0, 2.0, 0.0, 3.0]) if weighted else None
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = cross_entropy(ours, target, weight=weight)
    reference = F.cross_entropy(theirs, target, weight, ignore_index=255)
    loss.backward()
    reference.backward()
    assert loss.item() == pytest.approx(
        loop_cross_entropy(logits, target, [1.0] * 5 if weight is None else weight.tolist()), rel=1e-5
    )
    torch.testing.assert_close(loss, reference)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_gradient_is_the_numerical_one() -> None:
    logits, target = make_batch(2, 3, 2)
    logits = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, target), logits)


@pytest.mark.parametrize("weight", [None, torch.ones(5)])
def test_without_a_valid_pixel_is_an_attached_zero(weight: Tensor | None) -> None:
    layer = torch.nn.Conv2d(3, 5, 1)
    loss = cross_entropy(layer(torch.randn(2, 3, 4, 4)), torch.full((2, 4, 4), 255), weight=weight)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(layer.weight.grad, torch.zeros_like(layer.weight))


def test_valid_pixels_that_weigh_nothing_give_zero() -> None:
    logits, _ = make_batch(1, 2, 2)
    assert cross_entropy(logits, torch.zeros(1, 2, 2, dtype=torch.long), weight=torch.tensor([0.0, 1, 1, 1, 1])) == 0


def test_any_ignore_index_and_integer_type() -> None:
    logits, target = make_batch(2, 6, 6)
    expected = cross_entropy(logits, target)
    assert cross_entropy(logits, target.where(target != 255, -100), ignore_index=-100) == expected
    assert cross_entropy(logits, target.to(torch.uint8)) == expected


def test_is_computed_in_float32_under_autocast() -> None:
    logits, target = make_batch(2, 6, 6)
    half = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = cross_entropy(half, target)
    loss.backward()
    assert loss.dtype == torch.float32
    assert half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(loss.detach(), cross_entropy(half.detach().float(), target))


@pytest.mark.parametrize(
    ("logits", "target", "weight", "message"),
    [
        ((2, 5, 4, 4), (2, 8, 8), None, r"logits \(2, 5, 4, 4\) with target \(2, 8, 8\).*resize"),
        ((2, 5, 4, 4), (2, 1, 4, 4), None, "expected"),
        ((5,), (), None, "expected"),
        ((2, 5, 4), (2, 4), (4,), r"weight \(4,\).*5 classes"),
    ],
)
def test_shapes_that_do_not_belong_together(
    logits: tuple[int, ...], target: tuple[int, ...], weight: tuple[int, ...] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cross_entropy(
            torch.zeros(logits),
            torch.zeros(target, dtype=torch.long),
            weight=None if weight is None else torch.ones(weight),
        )
