"""Warping against the paper's sum and against a loop over cells that works in pixels, convention by convention."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.errors import ConfigError
from featalign.ops.warp import Sampling, warp

SAMPLINGS = get_args(Sampling)


def source(sampling: str, k: int, shift: float, *, cells: int, other: int, out: int) -> float:
    """Where output cell ``k`` of ``out`` reads along an axis of ``cells``, in cells. ``other``: the other axis."""
    corner = k * (cells - 1) / (out - 1)
    if sampling == "corrected":
        return corner + shift * (cells - 1) / (out - 1)
    if sampling == "sfnet":
        return corner + shift * (cells - 1) / (2 * out)
    norm = other if sampling.startswith("initial") else cells
    if sampling.endswith("ac_true"):
        return corner + shift * (cells - 1) / (2 * norm)
    return k * cells / (out - 1) - 0.5 + shift * cells / (2 * norm)


def oracle(x: Tensor, offset: Tensor, sampling: str) -> Tensor:
    height, width = x.shape[-2:]
    rows, columns = offset.shape[-2:]
    result = torch.zeros(*x.shape[:2], rows, columns, dtype=x.dtype)
    for b in range(x.shape[0]):
        for i in range(rows):
            for j in range(columns):
                dx, dy = offset[b, :, i, j].tolist()
                v = source(sampling, i, dy, cells=height, other=width, out=rows)
                u = source(sampling, j, dx, cells=width, other=height, out=columns)
                for row in (math.floor(v), math.floor(v) + 1):
                    for column in (math.floor(u), math.floor(u) + 1):
                        if 0 <= row < height and 0 <= column < width:
                            share = (1 - abs(v - row)) * (1 - abs(u - column))
                            result[b, :, i, j] += share * x[b, :, row, column]
    return result


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("cells, out", [((5, 9), (5, 9)), ((3, 3), (4, 7)), ((6, 4), (11, 5))])
def test_every_convention_against_a_loop(sampling, cells, out):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *cells, dtype=torch.float64)
    offset = 2 * torch.randn(2, 2, *out, dtype=torch.float64)
    assert torch.allclose(warp(x, offset, sampling=sampling), oracle(x, offset, sampling), rtol=0, atol=1e-12)


def test_corrected_is_the_papers_sum():
    """Eq. 2: a sum over all cells with the bilinear kernel. Its first offset is ours at index 1: rows."""
    torch.manual_seed(0)
    x = torch.randn(1, 2, 6, 7, dtype=torch.float64)
    offset = 3 * torch.randn(1, 2, 6, 7, dtype=torch.float64)
    rows = torch.arange(6.0, dtype=torch.float64)
    columns = torch.arange(7.0, dtype=torch.float64)
    at_row = rows[:, None] + offset[0, 1]
    at_column = columns[None, :] + offset[0, 0]
    by_row = (1 - (at_row[..., None] - rows).abs()).clamp(min=0)
    by_column = (1 - (at_column[..., None] - columns).abs()).clamp(min=0)
    expected = torch.einsum("bcij,hwi,hwj->bchw", x, by_row, by_column)
    assert torch.allclose(warp(x, offset), expected, rtol=0, atol=1e-12)


def test_whole_steps_point_to_where_the_value_is_read():
    x = torch.arange(12.0).view(1, 1, 3, 4)
    right = torch.zeros(1, 2, 3, 4)
    right[:, 0] = 1
    assert torch.allclose(warp(x, right)[..., :-1], x[..., 1:], atol=1e-5)
    assert torch.allclose(warp(x, right)[..., -1], torch.zeros(3), atol=1e-5)
    assert torch.allclose(warp(x, right.flip(1))[..., :-1, :], x[..., 1:, :], atol=1e-5)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_zero_offset_keeps_the_map_where_corners_are_centres(sampling):
    x = torch.randn(1, 2, 5, 8)
    kept = torch.allclose(warp(x, torch.zeros(1, 2, 5, 8), sampling=sampling), x, atol=1e-5)
    assert kept == (sampling not in ("head", "initial"))


def test_zero_offset_resizes_with_aligned_corners():
    x = torch.randn(2, 3, 3, 4, dtype=torch.float64)
    expected = F.interpolate(x, size=(7, 9), mode="bilinear", align_corners=True)
    assert torch.allclose(warp(x, torch.zeros(2, 2, 7, 9, dtype=torch.float64)), expected, rtol=0, atol=1e-12)


def test_single_cells_are_finite():
    for sampling in SAMPLINGS:
        for cells, out in [((1, 1), (1, 1)), ((3, 3), (1, 5)), ((1, 4), (6, 1))]:
            assert warp(torch.ones(1, 1, *cells), torch.randn(1, 2, *out), sampling=sampling).isfinite().all()
    assert torch.equal(warp(torch.ones(1, 1, 1, 1), torch.zeros(1, 2, 1, 1)), torch.ones(1, 1, 1, 1))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_gradients(sampling):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    offset = torch.randn(1, 2, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, offset: warp(x, offset, sampling=sampling), (x, offset))


def test_positions_survive_half_precision():
    """At column 300 of 301, bfloat16 would be off by more than a cell."""
    ramp = torch.arange(301.0).remainder(2).expand(1, 1, 2, 301)
    offset = torch.zeros(1, 2, 2, 301)
    got = warp(ramp.bfloat16(), offset.bfloat16())
    assert got.dtype == torch.bfloat16
    assert torch.allclose(got.float(), ramp, atol=0.01)


def test_exports_with_any_size():
    class Warp(torch.nn.Module):
        def forward(self, x: Tensor, offset: Tensor) -> Tensor:
            return warp(x, offset)

    dynamic = dict.fromkeys((2, 3), torch.export.Dim.DYNAMIC)
    example = (torch.randn(1, 2, 5, 7), torch.randn(1, 2, 9, 11))
    program = torch.export.export(Warp(), example, dynamic_shapes=(dynamic, dynamic))
    x, offset = torch.randn(1, 2, 6, 4), torch.randn(1, 2, 13, 8)
    assert torch.allclose(program.module()(x, offset), warp(x, offset), atol=1e-5)


def test_wrong_input_is_named():
    x = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ConfigError, match='unknown sampling "corected": did you mean "corrected"'):
        warp(x, torch.zeros(2, 2, 4, 4), sampling="corected")
    for shape in [(2, 3, 4, 4), (1, 2, 4, 4), (2, 2, 4)]:
        with pytest.raises(ValueError, match=r"expected an offset \(B=2, 2, H, W\)"):
            warp(x, torch.zeros(shape))
