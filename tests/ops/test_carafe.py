"""CARAFE reassembly against a loop over output cells."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from featalign.ops.carafe import carafe


def oracle(x: Tensor, kernels: Tensor, kernel_size: int, scale: int) -> Tensor:
    """Cell by cell, neighbours outside the map skipped."""
    batch, channels, height, width = x.shape
    out = torch.zeros(batch, channels, height * scale, width * scale, dtype=x.dtype)
    reach = kernel_size // 2
    for row, column in itertools.product(range(height * scale), range(width * scale)):
        for tap, (dy, dx) in enumerate(itertools.product(range(-reach, reach + 1), repeat=2)):
            i, j = row // scale + dy, column // scale + dx
            if 0 <= i < height and 0 <= j < width:
                out[:, :, row, column] += kernels[:, tap, row, column, None] * x[:, :, i, j]
    return out


def draw(size: tuple[int, int], kernel_size: int, scale: int, *, batch: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    height, width = size
    x = torch.randn(batch, 3, height, width, dtype=torch.float64, requires_grad=True)
    kernels = torch.randn(batch, kernel_size**2, scale * height, scale * width, dtype=torch.float64)
    return x, kernels.requires_grad_()


@pytest.mark.parametrize("size", [(4, 5), (1, 1), (2, 6)], ids=str)
@pytest.mark.parametrize(("kernel_size", "scale"), [(5, 2), (3, 4), (3, 8), (1, 2), (3, 1), (7, 2)])
def test_equals_the_loop_with_gradients(size, kernel_size, scale):
    x, kernels = draw(size, kernel_size, scale)
    got, expected = carafe(x, kernels, kernel_size=kernel_size, scale=scale), oracle(x, kernels, kernel_size, scale)
    assert torch.allclose(got, expected, rtol=0, atol=1e-12)
    weights = torch.randn_like(got)
    ours = torch.autograd.grad((got * weights).sum(), (x, kernels))
    theirs = torch.autograd.grad((expected * weights).sum(), (x, kernels))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)


def test_gradcheck():
    x, kernels = draw((2, 3), 3, 2, batch=1)
    assert torch.autograd.gradcheck(lambda *t: carafe(*t, kernel_size=3, scale=2), (x, kernels))


def test_of_no_map_there_is_none():
    x, kernels = draw((3, 4), 3, 2, batch=0)
    result = carafe(x, kernels, kernel_size=3, scale=2)
    result.sum().backward()
    assert result.shape == (0, 3, 6, 8) and x.grad.shape == x.shape and kernels.grad.shape == kernels.shape


def test_memory_layout_does_not_matter():
    x, kernels = draw((4, 6), 5, 2)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(carafe(last, kernels, kernel_size=5, scale=2), carafe(x, kernels, kernel_size=5, scale=2))


def test_a_centred_unit_kernel_repeats_cells():
    x, kernels = draw((3, 4), 5, 2)
    unit = torch.zeros_like(kernels)
    unit[:, 12] = 1
    expected = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(carafe(x, unit, kernel_size=5, scale=2), expected)


def test_half_precision_follows_float32():
    x, kernels = (t.detach().float() for t in draw((6, 5), 5, 2))
    kernels = kernels.softmax(1)
    rough = carafe(x.bfloat16(), kernels.bfloat16(), kernel_size=5, scale=2)
    assert rough.dtype == torch.bfloat16
    assert torch.allclose(rough.float(), carafe(x, kernels, kernel_size=5, scale=2), rtol=0, atol=0.03)


@pytest.mark.parametrize(
    ("shape", "kernel_size", "scale"),
    [((2, 25, 6, 8), 4, 2), ((2, 9, 6, 8), 5, 2), ((2, 25, 6, 7), 5, 2), ((1, 25, 6, 8), 5, 2), ((2, 25, 6, 8), 5, 0)],
)
def test_wrong_input_is_named(shape, kernel_size, scale):
    with pytest.raises(ValueError, match="expected"):
        carafe(torch.zeros(2, 3, 3, 4), torch.zeros(shape), kernel_size=kernel_size, scale=scale)
