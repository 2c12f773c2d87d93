"""The AlignSeg network as a Segmentor, and the wiring of its second pathway."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.errors import ConfigError
from featalign.models.alignseg import AlignSeg, alignseg
from featalign.spec import Classes


def build(**options: Any) -> AlignSeg:
    torch.manual_seed(0)
    return alignseg(Classes.numbered(3), **({"backbone": "resnet18", "width": 8} | options))


class Sum(nn.Module):
    """The plainest fuse."""

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return F.interpolate(coarse, size=fine.shape[-2:]) + fine


def test_pathway_takes_any_fuse():
    model = build(align=lambda fine_channels, width: Sum())
    assert sum(isinstance(module, Sum) for module in model.modules()) == 4
    assert any(type(m).__name__ == "AddFuse" for m in build(align="bilinear").modules())


@pytest.mark.parametrize("channels, size", [(3, (37, 50)), (5, (64, 33)), (1, (20, 20))])
def test_answers_any_input_and_any_grid(channels, size):
    model = build(in_channels=channels).eval()
    with torch.no_grad():
        features = model.encode(torch.randn(1, channels, *size))
        cells = tuple(-(-side // 4) for side in features.covered)
        assert model.strides == features.strides == (4,)
        assert features.deep is None and features.size == size
        assert [tuple(level.shape) for level in features.maps] == [(1, 8, *cells)]
        assert model.answer_grid(features, None).shape == (1, 3, *cells)
        assert model.decode(features).shape == (1, 3, *size)
        dense, resized = (model.decode(features, (31, 45), mode) for mode in ("dense", "resized"))
        assert torch.equal(dense, resized) and dense.shape == (1, 3, 31, 45)


def test_points_read_the_resized_logits():
    model = build().eval()
    with torch.no_grad():
        features = model.encode(torch.randn(2, 3, 40, 56))
        for height, width in [(10, 14), (7, 23)]:
            grid = model.answer_grid(features, (height, width))
            y, x = torch.meshgrid(
                (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij"
            )
            points = torch.stack((x, y), -1)
            assert torch.allclose(model.query(features, points[None]), grid, atol=1e-5)
            assert torch.allclose(
                model.query(features, points.expand(2, -1, -1, -1))[:, :, 3], grid[:, :, 3], atol=1e-5
            )
        corner = model.query(features, torch.zeros(1, 1, 2))
        assert torch.allclose(corner[..., 0], model.answer_grid(features, None)[:, :, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"context": "none"},
        {"context": "aspp"},
        {"context": "psp"},
        {"context": "rcca"},
        {"align": "alignfa_fine"},
        {"align": "alignfa_none"},
        {"align_context": False, "merge": "concat"},
        {"sampling": "initial"},
    ],
)
def test_gradients_reach_every_parameter(options):
    model = build(**options)
    for name, parameter in model.named_parameters():
        if "offset" in name or "gamma" in name:
            nn.init.normal_(parameter, std=0.1)
    features = model.encode(torch.randn(2, 3, 70, 90))
    deep = model.auxiliary_logits(features)
    assert deep.shape == (2, 3, 24, 24)
    (model.decode(features).square().sum() + deep.square().sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    own = [(name, p) for name, p in model.named_parameters() if not name.startswith("backbone.")]
    assert [name for name, p in own if not p.grad.abs().sum() > 0] == []  # the backbone starts some norms at zero


def test_deep_supervision_reads_the_map_that_stage_3_has_joined():
    model = build()
    images = torch.randn(2, 3, 64, 64)
    deep = model.encode(images).deep
    weights = torch.randn_like(deep)
    (deep * weights).sum().backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None}
    assert any(name.startswith("backbone.body.layer3") for name in touched)
    assert any(name.startswith("pathway.refine.1") for name in touched)
    assert not any(name.startswith(("backbone.body.layer4", "context", "pathway.refine.2")) for name in touched)
    assert build(auxiliary=False).encode(images).deep is None


def test_parameters_of_the_published_configuration():
    """ResNet-101 with deep stem and 19 classes: 66 846 310 in the published network."""
    with torch.device("meta"):
        model = alignseg(Classes.numbered(19), backbone="resnet101s")
    assert sum(p.numel() for p in model.parameters()) == 66_846_310


def test_wrong_options_are_named():
    with pytest.raises(ConfigError, match='unknown context "alingcm" for alignseg: did you mean "aligncm"'):
        build(context="alingcm")
    with pytest.raises(ConfigError, match='unknown align "low" for alignseg: expected one of: alignfa'):
        build(align="low")
