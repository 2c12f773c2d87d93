"""Frozen parts of backbones of different build."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from featalign.backbones import Pyramid, freeze_levels, freeze_norms
from featalign.errors import ConfigError


def frozen(backbone: Pyramid) -> set[str]:
    """The parts of the network, by name, without a parameter that learns."""
    parts = {name: list(part.parameters()) for name, part in backbone.body.named_children()}
    return {name for name, owned in parts.items() if owned and not any(one.requires_grad for one in owned)}


@pytest.mark.parametrize(
    ("name", "count", "expected"),
    [
        ("convnext_atto", 1, {"stem_0", "stem_1", "stages_0"}),
        ("convnext_atto", 2, {"stem_0", "stem_1", "stages_0", "stages_1"}),
        ("mobilenetv3_small_050", 1, {"conv_stem"}),  # and the first of its blocks; its norm has no parameter any more
        ("resnet10t", 0, set()),
    ],
)
def test_what_a_level_is_made_from(name, count, expected):
    backbone = Pyramid(name)
    freeze_levels(backbone, count)
    assert frozen(backbone) == expected
    learning = [parameter for parameter in backbone.train().parameters() if parameter.requires_grad]
    sum(level.square().mean() for level in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert all(parameter.grad is not None for parameter in learning)


def test_norms_become_constants_and_the_answer_stays():
    torch.manual_seed(0)
    backbone = Pyramid("resnet10t").train()
    images = torch.randn(2, 3, 64, 64)
    backbone(images)  # statistics other than those at the start
    with torch.no_grad():
        expected = backbone.eval()(images)
        freeze_norms(backbone)
        got = backbone.train()(images)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    assert not any("bn" in name for name, _ in backbone.named_parameters())
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(got, expected, strict=True))


def test_constant_norms_train_on_a_single_cell():
    backbone = Pyramid("resnet10t").train()
    image = torch.randn(1, 3, 32, 32)
    with pytest.raises(ValueError, match="a single cell"):
        backbone(image)
    freeze_norms(backbone)
    assert backbone(image)[-1].shape[2:] == (1, 1)


def test_other_norms_stay():
    backbone = Pyramid("convnext_atto")
    before = {name for name, _ in backbone.named_parameters()}
    freeze_norms(backbone)
    assert {name for name, _ in backbone.named_parameters()} == before


def test_more_levels_than_there_are():
    with pytest.raises(ConfigError, match=r"frozen_levels must be 0 … 2 of this backbone's maps, got 3"):
        freeze_levels(Pyramid("resnet10t", strides=(8, 16)), 3)
