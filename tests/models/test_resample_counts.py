"""The resamplers in IFA's decoder have the parameters and multiply-adds of IFA Table 1."""

from __future__ import annotations

import pytest
import torch

from featalign.models import create_model
from featalign.models.complexity import Complexity, complexity


def count(align: str) -> Complexity:
    """Before IFA's decoder on its ResNet-50 at 1024 x 1024."""
    with torch.device("meta"):
        model = create_model("fpn", align=align, backbone="resnet50s", classes=19, ceil_pool=True)
    return complexity(model)


def test_upsampling_module():
    got = count("upsampling")
    assert got.training_parameters / 1e6 == pytest.approx(31.26, abs=0.005)
    assert got.papers_flops / 1e9 == pytest.approx(218.44, abs=0.05)


def test_deconvolution():
    got = count("deconvolution")
    assert got.training_parameters / 1e6 == pytest.approx(29.48, abs=0.005)
    sides = {1: 129, 2: 65, 3: 33}  # of the levels below the finest
    by_output = sum((4**i - 1) * side**2 for i, side in sides.items()) * 9 * 256**2
    assert (got.papers_flops + by_output) / 1e9 == pytest.approx(303.5, abs=0.1)  # the paper counts each output cell


def test_carafe():
    got = count("carafe")
    assert got.training_parameters / 1e6 == pytest.approx(28.97, abs=0.005)
    assert got.papers_flops / 1e9 == pytest.approx(186.62, abs=0.05)
