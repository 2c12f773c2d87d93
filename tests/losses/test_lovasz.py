from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from featalign.losses import lovasz_softmax


def make_batch(*shape: int, classes: int = 4, void: float = 0.2, seed: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape[0], classes, *shape[1:], generator=generator, dtype=torch.float64)
    target = torch.randint(classes, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < void] = 255
    return logits, target


def jaccard_loss(true: set[int], wrong: set[int]) -> float:
    """1 - IoU of a class whose mask is ``true``, when the pixels in ``wrong`` are mistaken (equation 6)."""
    union = true | wrong
    return len(wrong) / len(union) if union else 0.0


def defined_loss(logits: Tensor, target: Tensor, *, every_class: bool = False) -> float:
    """The Lovász extension by its definition: sum of m_(i) * (loss of the first i pixels - of the first i-1)."""
    classes = logits.shape[1]
    probability = torch.softmax(logits, 1).movedim(1, -1).reshape(-1, classes).tolist()
    labels = target.flatten().tolist()
    pixels = [i for i, label in enumerate(labels) if label != 255]
    losses = []
    for c in range(classes):
        true = {i for i in pixels if labels[i] == c}
        if not true and not every_class:
            continue
        errors = {i: 1 - probability[i][c] if i in true else probability[i][c] for i in pixels}
        order = sorted(pixels, key=lambda i, e=errors: -e[i])
        loss = [jaccard_loss(true, set(order[:count])) for count in range(len(order) + 1)]
        losses.append(sum(errors[i] * (b - a) for i, (a, b) in zip(order, pairwise(loss), strict=True)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("shape", [(2, 4, 5), (1, 23), (6,), (1, 2, 3, 2)])
def test_equals_the_definition(shape: tuple[int, ...]) -> None:
    logits, target = make_batch(*shape)
    assert lovasz_softmax(logits, target).item() == pytest.approx(defined_loss(logits, target))


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_equals_the_definition_on_small_batches(seed: int, pixels: int, classes: int) -> None:
    logits, target = make_batch(1, pixels, classes=classes, seed=seed)
    target[0, 0] = 0
    assert lovasz_softmax(logits, target).item() == pytest.approx(defined_loss(logits, target))
    every = lovasz_softmax(logits, target, classes="all")
    assert every.item() == pytest.approx(defined_loss(logits, target, every_class=True))


@pytest.mark.parametrize("per_image", [False, True])
def test_gradient_is_the_numerical_one(per_image: bool) -> None:
    logits, target = make_batch(2, 3, 4)
    assert torch.autograd.gradcheck(lambda x: lovasz_softmax(x, target, per_image=per_image), logits.requires_grad_())


def test_hard_answers_lose_one_minus_iou() -> None:
    target = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 255]])
    answer = torch.tensor([[0, 0, 1, 1, 1, 1, 0, 0]])
    logits = 1000.0 * torch.nn.functional.one_hot(answer, 2).movedim(-1, 1)
    assert lovasz_softmax(logits, target).item() == pytest.approx(1 - (2 / 4 + 3 / 5) / 2)


def test_of_images_is_their_mean_without_those_of_void() -> None:
    logits, target = make_batch(3, 4, 5)
    target[1] = 255
    single = [lovasz_softmax(logits[i : i + 1], target[i : i + 1]) for i in (0, 2)]
    assert lovasz_softmax(logits, target, per_image=True).item() == pytest.approx(float(sum(single)) / 2)


def test_gradients_of_many_pixels_are_not_blurred_by_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 400_000, generator=generator)
    target = torch.randint(2, (1, 400_000), generator=generator)
    gradients = []
    for precise in (logits, logits.double()):
        precise.requires_grad_()
        lovasz_softmax(precise, target).backward()
        gradients.append(precise.grad.double())
    assert (gradients[0] - gradients[1]).norm() < 1e-3 * gradients[1].norm()


@pytest.mark.parametrize("options", [{}, {"classes": "all"}, {"per_image": True}])
@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 0), (0, 3, 3)])
def test_without_a_valid_pixel_is_an_attached_zero(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    logits = make_batch(*shape)[0].requires_grad_()
    loss = lovasz_softmax(logits, torch.full(shape, 255), **options)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_any_ignore_index_and_integer_type() -> None:
    logits, target = make_batch(2, 6, 6)
    expected = lovasz_softmax(logits, target)
    assert lovasz_softmax(logits, target.where(target != 255, -100), ignore_index=-100) == expected
    assert lovasz_softmax(logits, target.to(torch.uint8)) == expected


def test_is_computed_in_float32_under_autocast() -> None:
    logits, target = make_batch(2, 6, 6)
    half = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = lovasz_softmax(half, target)
    loss.backward()
    assert loss.dtype == torch.float32 and half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(loss.detach(), lovasz_softmax(half.detach().float(), target))


def test_wrong_input() -> None:
    logits, target = make_batch(2, 6, 6)
    with pytest.raises(ValueError, match='classes="some"'):
        lovasz_softmax(logits, target, classes="some")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="resize the logits"):
        lovasz_softmax(logits, target[:, :3])
