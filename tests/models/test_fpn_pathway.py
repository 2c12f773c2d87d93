"""An implicit function behind a top-down pathway."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.errors import ConfigError, WeightsError
from featalign.models import create_model, save_model


class Doubled(nn.Module):
    """A fuse of a user's own."""

    def __init__(self, fine_channels: int, width: int) -> None:
        super().__init__()
        self.lateral = nn.Conv2d(fine_channels, width, 1)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return self.lateral(fine) + 2 * F.interpolate(coarse, fine.shape[-2:])


def small(**options):
    torch.manual_seed(0)
    return create_model("fpn", classes=3, backbone="resnet10t", width=16, hidden=(24, 16), **options)


@pytest.mark.parametrize("align", ["ifa", "bilinear", "carafe"])
def test_levels_are_fused_on_the_way_down_and_smoothed_on_the_way_out(align):
    model = small(align=align, pathway=Doubled).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps = model.backbone(images)
        pathway = model.decoder.laterals
        fused = [pathway.top(maps[3])]
        for fuse, fine in zip(reversed(pathway.fuses), maps[2::-1], strict=True):
            fused.insert(
                0,
                F.conv2d(fine, fuse.lateral.weight, fuse.lateral.bias)
                + 2 * fused[0].repeat_interleave(2, -1).repeat_interleave(2, -2),
            )
        levels = [smooth(level) for smooth, level in zip(pathway.smooth, fused, strict=True)]
        assert all(level.min() == 0 and level.shape[1] == 16 for level in levels)
        for i, resample in enumerate(model.decoder.resamplers, 1):
            levels[i] = resample(levels[i], levels[0].shape[-2:])
        for found, expected in zip(model.encode(images).maps, levels, strict=True):
            torch.testing.assert_close(found, expected)


def test_a_fine_level_knows_of_the_coarse_ones_with_a_pathway_alone():
    for pathway, knows in (("none", False), ("fapn_none", True)):
        model = small(pathway=pathway).train()
        maps = [
            torch.randn(2, c, 32 // 2**i, 32 // 2**i, requires_grad=True) for i, c in enumerate((64, 128, 256, 512))
        ]
        model.decoder.project(maps)[0].square().sum().backward()
        assert [one.grad is not None for one in maps] == [True, knows, knows, knows]


def test_pyramid_pooling_stands_at_the_top_of_the_pathway():
    model = small(pathway="nearest", aspp=8)
    assert model.decoder.laterals.top.image[0].out_channels == 8


def test_what_is_no_pathway_is_refused_and_an_own_one_is_not_stored(tmp_path):
    with pytest.raises(ConfigError, match='unknown pathway "fapm" for model "fpn": did you mean "fapn"'):
        small(pathway="fapm")
    with pytest.raises(ConfigError, match="20 channels cannot share offsets in 8 groups"):
        create_model("fpn", classes=3, backbone="resnet10t", width=20, pathway="fapn")
    with pytest.raises(ConfigError, match=r'goes with alignseg, .*sfnet, and here as pathway="fapn"'):
        small(align="fapn")
    with pytest.raises(WeightsError, match="cannot be stored as a folder"):
        save_model(small(pathway=Doubled), tmp_path)
