"""The resamplers in IFA's decoder have the parameters and multiply-adds of IFA Table 1."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from featalign.align.carafe import Carafe
from featalign.align.resample import Deconvolution, UpsamplingModule
from featalign.models import create_model
from featalign.models.complexity import Complexity, complexity
from featalign.models.fpn import FPN
from featalign.models.segmentor import Features


class Resampled(FPN):
    """FPN whose coarser levels are brought to the finest grid by modules, with the plain MLP behind."""

    resamplers: nn.ModuleList

    def encode(self, images: Tensor) -> Features:
        features = super().encode(images)
        finest, *coarse = features.maps
        size = (finest.shape[-2], finest.shape[-1])
        same = [resample(level, size) for resample, level in zip(self.resamplers, coarse, strict=True)]
        return features._replace(maps=[finest, *same])


def count(resampler: Callable[[int], nn.Module]) -> Complexity:
    """``resampler(i)`` for the i-th level below the finest, behind IFA's ResNet-50 at 1024 x 1024."""
    with torch.device("meta"):
        model = create_model("fpn", align="nearest", backbone="resnet50s", classes=19, ceil_pool=True)
        model.__class__ = Resampled
        model.resamplers = nn.ModuleList(resampler(i) for i in (1, 2, 3))
    return complexity(model)


def test_upsampling_module():
    got = count(lambda i: UpsamplingModule(256, convolutions=i))
    assert got.training_parameters / 1e6 == pytest.approx(31.26, abs=0.005)
    assert got.papers_flops / 1e9 == pytest.approx(218.44, abs=0.05)


def test_deconvolution():
    got = count(lambda i: Deconvolution(256, scale=2**i))
    assert got.training_parameters / 1e6 == pytest.approx(29.48, abs=0.005)
    sides = {1: 129, 2: 65, 3: 33}  # of the levels below the finest
    by_output = sum((4**i - 1) * side**2 for i, side in sides.items()) * 9 * 256**2
    assert (got.papers_flops + by_output) / 1e9 == pytest.approx(303.5, abs=0.1)  # the paper counts each output cell


def test_carafe():
    got = count(lambda i: Carafe(256, scale=2**i))
    assert got.training_parameters / 1e6 == pytest.approx(28.97, abs=0.005)
    assert got.papers_flops / 1e9 == pytest.approx(186.62, abs=0.05)
