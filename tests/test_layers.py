from __future__ import annotations

import pytest
import torch
from torch import nn

from featalign.align.alignseg import OffsetPredictor
from featalign.align.fapn import DeformableConv
from featalign.align.sfnet import AlignedModule
from featalign.layers import OffsetConv2d


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
