from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from featalign.losses import cross_entropy, ohem_cross_entropy, ohem_cross_entropy_alignseg


def make_batch(*shape: int, void: float = 0.2, confidence: float = 2.0, seed: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(4, shape, generator=generator)
    logits = torch.randn(shape[0], 4, *shape[1:], generator=generator)
    logits += confidence * torch.nn.functional.one_hot(target, 4).movedim(-1, 1)
    target[torch.rand(shape, generator=generator) < void] = 255
    return logits, target


def zoomed_threshold(logits: Tensor, target: Tensor, threshold: float, min_kept: int, factor: int) -> float:
    """As published: maps zoomed by scipy, and the hardest pixels of those picked out by numpy."""
    share = 1 / factor
    probability = ndimage.zoom(torch.softmax(logits, 1).numpy(), (1, 1, share, share), order=1)
    labels = ndimage.zoom(target.numpy(), (1, share, share), order=0)
    kept, valid = min_kept // factor**2, labels != 255
    if kept >= valid.sum():
        return 1.0
    true = np.take_along_axis(probability, np.where(valid, labels, 0)[:, None], 1)[:, 0][valid]
    return threshold if kept == 0 else max(threshold, float(np.sort(true)[kept - 1]))


@pytest.mark.parametrize("size", [(33, 47), (64, 40), (17, 89)])
@pytest.mark.parametrize("factor", [1, 2, 3, 8])
@pytest.mark.parametrize("min_kept", [0, 40, 500, 1500, 100_000])
def test_equals_mining_on_maps_zoomed_by_scipy(size: tuple[int, int], factor: int, min_kept: int) -> None:
    logits, target = make_batch(2, *size, seed=factor)
    threshold = zoomed_threshold(logits, target, 0.3, min_kept, factor)
    probability = torch.softmax(logits, 1).gather(1, target.where(target != 255, 0)[:, None])[:, 0]
    expected = cross_entropy(logits, target.where(probability <= threshold + 1e-6, 255))
    loss = ohem_cross_entropy_alignseg(logits, target, threshold=0.3, min_kept=min_kept, factor=factor)
    torch.testing.assert_close(loss, expected, rtol=2e-3, atol=0)  # the pixel at the threshold may fall on either side


def test_with_factor_1_it_is_the_mining_of_ifa() -> None:
    logits, target = make_batch(2, 20, 21)
    for min_kept in (1, 50, 300):
        options = {"threshold": 0.2, "min_kept": min_kept}
        assert ohem_cross_entropy_alignseg(logits, target, factor=1, **options) == ohem_cross_entropy(
            logits, target, **options
        )


def test_points_are_mined_without_a_grid() -> None:
    logits, target = make_batch(2, 20, 21)
    flat, labels = logits.flatten(2), target.flatten(1)
    options = {"threshold": 0.2, "min_kept": 100}
    assert ohem_cross_entropy_alignseg(flat, labels, **options) == ohem_cross_entropy(flat, labels, **options)


def test_gradient_is_that_of_cross_entropy_over_the_kept_pixels() -> None:
    logits, target = make_batch(1, 8, 8)
    logits = logits.double().requires_grad_()
    options = {"threshold": 0.5, "min_kept": 9, "factor": 2}
    assert torch.autograd.gradcheck(lambda x: ohem_cross_entropy_alignseg(x, target, **options), logits)


@pytest.mark.parametrize("min_kept", [0, 1, 10_000])
@pytest.mark.parametrize("size", [(0, 0), (3, 3), (20, 30)])
def test_without_a_valid_pixel_is_an_attached_zero(min_kept: int, size: tuple[int, int]) -> None:
    logits = torch.randn(2, 4, *size, requires_grad=True)
    loss = ohem_cross_entropy_alignseg(logits, torch.full((2, *size), 255), min_kept=min_kept)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_is_computed_in_float32_under_autocast() -> None:
    logits, target = make_batch(2, 24, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ohem_cross_entropy_alignseg(logits.bfloat16(), target, min_kept=200)
    torch.testing.assert_close(loss, ohem_cross_entropy_alignseg(logits.bfloat16().float(), target, min_kept=200))


@pytest.mark.parametrize("options", [{"threshold": 1.5}, {"min_kept": -1}, {"factor": 0}])
def test_options_out_of_range(options: dict[str, float]) -> None:
    logits, target = make_batch(1, 8, 8)
    with pytest.raises(ValueError, match="expected 0 <= threshold <= 1, min_kept >= 0, factor >= 1"):
        ohem_cross_entropy_alignseg(logits, target, **options)
