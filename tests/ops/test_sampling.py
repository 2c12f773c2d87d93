"""Reading maps at points: values by hand, borders, precision."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.ops.sampling import sample_at


def by_hand(level: Tensor, x: float, y: float) -> Tensor:
    """Bilinear between the four nearest cell centres of (C, h, w), cells at the border repeated."""
    _, height, width = level.shape
    column, row = x * width - 0.5, y * height - 0.5
    left, top = math.floor(column), math.floor(row)
    total = torch.zeros_like(level[:, 0, 0])
    for i, share_y in ((top, 1 - (row - top)), (top + 1, row - top)):
        for j, share_x in ((left, 1 - (column - left)), (left + 1, column - left)):
            total += share_y * share_x * level[:, min(max(i, 0), height - 1), min(max(j, 0), width - 1)]
    return total


@pytest.mark.parametrize("shape", [(4, 6), (1, 1), (1, 5)])
def test_sampling_is_bilinear_between_cell_centres(shape):
    torch.manual_seed(0)
    maps = torch.randn(2, 3, *shape, dtype=torch.float64)
    points = torch.cat((torch.rand(9, 2, dtype=torch.float64), torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])))
    got = sample_at(maps, points[None])
    assert got.shape == (2, 3, 12)
    for b in range(2):
        for n, (x, y) in enumerate(points.tolist()):
            assert torch.allclose(got[b, :, n], by_hand(maps[b], x, y), atol=1e-12)


def test_sampling_keeps_half_precision_and_asks_each_image_its_own_points():
    maps, points = torch.randn(2, 3, 5, 5, dtype=torch.bfloat16), torch.rand(2, 4, 2)
    got = sample_at(maps, points)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got[1:], sample_at(maps[1:], points[1:]))


def test_sampling_pixel_centres_is_interpolation():
    maps = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    y, x = ((torch.arange(n, dtype=torch.float64) + 0.5) / n for n in (11, 4))
    points = torch.stack((x.expand(11, 4), y[:, None].expand(11, 4)), -1)
    expected = F.interpolate(maps, (11, 4), mode="bilinear", align_corners=False)
    assert torch.allclose(sample_at(maps, points[None]), expected, atol=1e-12)
