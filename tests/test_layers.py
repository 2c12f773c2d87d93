from __future__ import annotations

import pytest
import torch
from torch import nn

from featalign.align.alignseg import OffsetPredictor
from featalign.align.fapn import DeformableConv
from featalign.align.sfnet import AlignedModule
from featalign.layers import GroupNorm, OffsetConv2d


def test_single_precision_convolution_is_a_convolution():
    torch.manual_seed(0)
    single, images = OffsetConv2d(3, 4, 3, padding=1, stride=2), torch.randn(2, 3, 9, 9)
    plain = nn.Conv2d(3, 4, 3, padding=1, stride=2)
    plain.load_state_dict(single.state_dict())
    assert torch.equal(single(images), plain(images))
    with torch.autocast("cpu", torch.bfloat16):
        assert plain(images).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = single(images)
    assert torch.equal(under_autocast, plain(images))
    half = single.to(torch.bfloat16)(images.to(torch.bfloat16))
    assert half.dtype == torch.float32
    assert single.double()(images.double()).dtype == torch.float64


@pytest.mark.parametrize(
    "predictor", [OffsetPredictor(8)[-1], DeformableConv(8, 8, groups=2).predict, AlignedModule(8, 4).predict]
)
def test_what_predicts_positions_is_one(predictor):
    assert isinstance(predictor, OffsetConv2d)


def test_group_normalization_of_a_single_value_is_that_of_a_larger_batch():
    torch.manual_seed(0)
    norm, cell = GroupNorm(4, 4), torch.randn(2, 4, 1, 1)
    nn.init.normal_(norm.bias)
    assert torch.equal(norm(cell[:1]), norm(cell)[:1])
    torch.testing.assert_close(norm(cell[:1]).flatten(), norm.bias, rtol=0, atol=1e-3)
    plain, images = nn.GroupNorm(2, 4), torch.randn(1, 4, 5, 6)
    assert torch.equal(GroupNorm(2, 4)(images), plain(images))
