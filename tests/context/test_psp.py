"""Pyramid pooling: values against slices and means, one image, layout options."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from featalign.context.psp import PyramidPooling


def test_bins_are_means_over_their_cells():
    torch.manual_seed(0)
    module = PyramidPooling(4, 5, bins=(1, 2, 3), inner=3).double().eval()
    x = torch.randn(2, 4, 6, 12, dtype=torch.float64)
    for branch, bins, got in zip(module.branches, module.bins, module.pooled(x), strict=True):
        means = x.unflatten(2, (bins, 6 // bins)).unflatten(4, (bins, 12 // bins)).mean((3, 5))
        assert torch.allclose(got, branch(means), rtol=0, atol=1e-12)


@pytest.mark.parametrize("align_corners", [True, False])
def test_everything_is_concatenated_for_one_last_convolution(align_corners):
    torch.manual_seed(0)
    module = PyramidPooling(4, 5, bins=(1, 2), inner=3, align_corners=align_corners).eval()
    x = torch.randn(1, 4, 5, 7)
    one, two = module.pooled(x)
    two = F.interpolate(two, (5, 7), mode="bilinear", align_corners=align_corners)
    expected = module.merge(torch.cat([one.expand(-1, -1, 5, 7), two, x], 1))
    assert torch.allclose(module(x), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 2)], ids=str)
def test_one_image_trains(size):
    torch.manual_seed(0)
    module = PyramidPooling(8, 6).train()
    x = torch.randn(1, 8, *size, requires_grad=True)
    out = module(x)
    assert out.shape == (1, 6, *size)
    (out * torch.randn_like(out)).sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_parameters_of_the_paper():
    """PSPNet on 2048 channels: four 1x1 to 512, one 3x3 from 4096 to 512, norms."""
    count = sum(p.numel() for p in PyramidPooling(2048, 512).parameters())
    assert count == 4 * (2048 * 512 + 1024) + 9 * 4096 * 512 + 1024


def test_pooled_maps_may_keep_their_sign():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, 6)
    assert min(m.min() for m in PyramidPooling(4, 5, activation=False, inner=8).pooled(x)) < 0
    assert min(m.min() for m in PyramidPooling(4, 5, inner=8).pooled(x)) >= 0
