from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from featalign.losses import dice_loss


def make_batch(*shape: int, classes: int = 4, void: float = 0.2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(11)
    logits = torch.randn(shape[0], classes, *shape[1:], generator=generator, dtype=torch.float64)
    target = torch.randint(classes - 1, shape, generator=generator)  # the last class does not occur
    target[torch.rand(shape, generator=generator) < void] = 255
    return logits, target


def loop_dice(logits: Tensor, target: Tensor, smooth: float) -> float:
    overlap, mass = {}, {}
    for scores, label in zip(
        logits.movedim(1, -1).reshape(-1, logits.shape[1]).tolist(), target.flatten().tolist(), strict=True
    ):
        if label != 255:
            total = sum(math.exp(score) for score in scores)
            overlap[label] = overlap.get(label, 0) + math.exp(scores[label]) / total
            for c, score in enumerate(scores):
                mass[c] = mass.get(c, 0) + math.exp(score) / total + (c == label)
    return sum(1 - (2 * overlap[c] + smooth) / (mass[c] + smooth) for c in overlap) / len(overlap)


@pytest.mark.parametrize("shape", [(2, 5, 7), (3, 11), (4,), (1, 2, 3, 2)])
@pytest.mark.parametrize("smooth", [0.0, 1.0, 20.0])
def test_equals_a_naive_loop(shape: tuple[int, ...], smooth: float) -> None:
    logits, target = make_batch(*shape)
    assert dice_loss(logits, target, smooth=smooth).item() == pytest.approx(loop_dice(logits, target, smooth))


def test_gradient_is_the_numerical_one() -> None:
    logits, target = make_batch(2, 3, 4)
    assert torch.autograd.gradcheck(lambda x: dice_loss(x, target), logits.requires_grad_())


def test_hard_answers_lose_one_minus_dice() -> None:
    target = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 255]])
    answer = torch.tensor([[0, 0, 1, 1, 1, 1, 0, 0]])
    logits = 1000.0 * torch.nn.functional.one_hot(answer, 2).movedim(-1, 1)
    assert dice_loss(logits, target, smooth=0).item() == pytest.approx(1 - (4 / 6 + 6 / 8) / 2)


def test_millions_of_pixels_add_up_in_float32() -> None:
    logits = torch.zeros(1, 2, 1_500_000)
    logits[:, 0] = 2.0
    target = torch.zeros(1, 1_500_000, dtype=torch.long)
    p = 1 / (1 + math.exp(-2))
    assert dice_loss(logits, target).item() == pytest.approx(1 - 2 * p / (p + 1), rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 0)])
def test_without_a_valid_pixel_is_an_attached_zero(shape: tuple[int, ...]) -> None:
    logits = make_batch(*shape)[0].requires_grad_()
    loss = dice_loss(logits, torch.full(shape, 255))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_any_ignore_index_and_integer_type() -> None:
    logits, target = make_batch(2, 6, 6)
    expected = dice_loss(logits, target)
    assert dice_loss(logits, target.where(target != 255, -100), ignore_index=-100) == expected
    assert dice_loss(logits, target.to(torch.uint8)) == expected


def test_is_computed_in_float32_under_autocast() -> None:
    logits, target = make_batch(2, 6, 6)
    half = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = dice_loss(half, target)
    loss.backward()
    assert loss.dtype == torch.float32 and half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(loss.detach(), dice_loss(half.detach().float(), target))


def test_wrong_input() -> None:
    logits, target = make_batch(2, 6, 6)
    with pytest.raises(ValueError, match="smooth=-1"):
        dice_loss(logits, target, smooth=-1)
    with pytest.raises(ValueError, match="resize the logits"):
        dice_loss(logits, target[:, :3])
