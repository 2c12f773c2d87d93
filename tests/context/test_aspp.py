"""ASPP against its formula, and at batch 1."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from featalign.context import ASPP


def test_branches_by_hand():
    torch.manual_seed(0)
    aspp = ASPP(6, 5, inner=4, dilations=(2, 3)).eval()
    x = torch.randn(2, 6, 9, 7)
    image = aspp.image(F.adaptive_avg_pool2d(x, 1)).expand(-1, -1, 9, 7)
    branches = [image, aspp.point(x)]
    for rate, branch in zip((2, 3), aspp.atrous, strict=True):
        conv, norm, _ = branch
        branches.append(F.relu(norm(F.conv2d(x, conv.weight, padding=rate, dilation=rate))))
    expected = aspp.merge(torch.cat(branches, 1))
    assert aspp(x).shape == (2, 5, 9, 7)
    assert torch.allclose(aspp(x), expected, atol=1e-6)


def test_batch_of_one_trains_and_keeps_the_image_statistics():
    aspp = ASPP(6, 5, inner=4, dilations=(2,)).train()
    norm = aspp.image[1]
    norm.running_mean.fill_(0.5)
    aspp(torch.randn(1, 6, 9, 7)).sum().backward()
    assert torch.equal(norm.running_mean, torch.full((4,), 0.5))
    assert aspp.point[0].weight.grad.isfinite().all()
    aspp(torch.randn(2, 6, 9, 7))
    assert not torch.equal(norm.running_mean, torch.full((4,), 0.5))
