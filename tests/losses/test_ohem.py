from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from featalign.losses import cross_entropy, ohem_cross_entropy, ohem_cross_entropy_alignseg


def make_batch(*, confidence: float = 1.0, void: float = 0.2) -> tuple[Tensor, Tensor]:
    """Logits (2, 4, 6, 7) that prefer the true class the more, the higher the confidence."""
    generator = torch.Generator().manual_seed(5)
    target = torch.randint(4, (2, 6, 7), generator=generator)
    logits = torch.randn(2, 4, 6, 7, generator=generator)
    logits += confidence * torch.nn.functional.one_hot(target, 4).movedim(-1, 1)
    target[torch.rand(target.shape, generator=generator) < void] = 255
    return logits, target


def loop_ohem(logits: Tensor, target: Tensor, threshold: float, min_kept: int) -> tuple[float, int]:
    """Loss and number of kept pixels, pixel by pixel and without a tie in sight."""
    hardness = []
    for scores, label in zip(logits.movedim(1, -1).reshape(-1, 4).tolist(), target.flatten().tolist(), strict=True):
        if label != 255:
            hardness.append(math.exp(scores[label]) / sum(math.exp(score) for score in scores))
    hardness.sort()
    kept = [p for p in hardness if p <= threshold]
    if len(kept) < min_kept:
        kept = hardness[:min_kept]
    return -sum(math.log(p) for p in kept) / len(kept), len(kept)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 6.0])
@pytest.mark.parametrize("min_kept", [1, 7, 30, 60, 10_000])
def test_equals_a_naive_loop(confidence: float, min_kept: int) -> None:
    logits, target = make_batch(confidence=confidence)
    logits.requires_grad_()
    loss = ohem_cross_entropy(logits, target, threshold=0.6, min_kept=min_kept)
    loss.backward()
    expected, kept = loop_ohem(logits.detach(), target, 0.6, min_kept)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert int(logits.grad.abs().sum(1).gt(0).sum()) == kept


def test_gradient_is_that_of_cross_entropy_over_the_kept_pixels() -> None:
    logits, target = make_batch()
    logits = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ohem_cross_entropy(x, target, threshold=0.5, min_kept=9), logits)


def test_no_mining_with_min_kept_0() -> None:
    logits, target = make_batch(confidence=4)
    assert ohem_cross_entropy(logits, target, threshold=0.1, min_kept=0) == cross_entropy(logits, target)


def test_mines_points_like_maps() -> None:
    logits, target = make_batch()
    options = {"threshold": 0.5, "min_kept": 12}
    assert ohem_cross_entropy(logits.flatten(2), target.flatten(1), **options) == ohem_cross_entropy(
        logits, target, **options
    )


@pytest.mark.parametrize("min_kept", [0, 1, 10_000])
@pytest.mark.parametrize("size", [(0, 0), (3, 3)])
def test_without_a_valid_pixel_is_an_attached_zero(min_kept: int, size: tuple[int, int]) -> None:
    logits = torch.randn(2, 4, *size, requires_grad=True)
    loss = ohem_cross_entropy(logits, torch.full((2, *size), 255), min_kept=min_kept)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_is_computed_in_float32_under_autocast() -> None:
    logits, target = make_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ohem_cross_entropy(logits.bfloat16(), target, min_kept=5)
    torch.testing.assert_close(loss, ohem_cross_entropy(logits.bfloat16().float(), target, min_kept=5))


@pytest.mark.parametrize("options", [{"threshold": 1.5}, {"threshold": -0.1}, {"min_kept": -1}])
def test_options_out_of_range(options: dict[str, float]) -> None:
    logits, target = make_batch()
    with pytest.raises(ValueError, match="expected 0 <= threshold <= 1, min_kept >= 0"):
        ohem_cross_entropy(logits, target, **options)


def test_target_of_another_size() -> None:
    with pytest.raises(ValueError, match="resize the logits"):
        ohem_cross_entropy(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 4, dtype=torch.long))


@pytest.mark.parametrize("mine", [ohem_cross_entropy, ohem_cross_entropy_alignseg])
@pytest.mark.parametrize("min_kept", [1, 20, 10_000])
@pytest.mark.parametrize("everywhere", [False, True])
def test_nan_is_not_mined_away(mine: Callable[..., Tensor], min_kept: int, everywhere: bool) -> None:
    logits, target = make_batch()
    target[0, 2, 3] = 1
    (logits if everywhere else logits[0, :, 2, 3]).fill_(math.nan)
    assert mine(logits, target, min_kept=min_kept).isnan()
