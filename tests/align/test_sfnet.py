"""Flow alignment without published weights: what a flow does, sizes, gradients, wrong options."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from featalign.align.sfnet import AlignedModule, AlignedModuleV2, FlowFuse, GatedFlowFuse, SFNetHead
from featalign.context.psp import PyramidPooling
from featalign.errors import ConfigError


def test_without_flow_the_coarse_map_is_resized_corner_to_corner():
    module = AlignedModule(4, 2)
    nn.init.zeros_(module.predict.weight)
    coarse, fine = torch.randn(2, 4, 5, 7), torch.randn(2, 4, 9, 13)
    expected = F.interpolate(coarse, (9, 13), mode="bilinear", align_corners=True)
    assert torch.allclose(module(coarse, fine), expected, atol=1e-5)
    assert module.flow(coarse, fine).shape == (2, 2, 9, 13)


@pytest.mark.parametrize("gate", ["features", "pooling"])
def test_without_flow_a_gate_of_one_half_averages(gate):
    module = AlignedModuleV2(4, 2, gate=gate)
    nn.init.zeros_(module.predict.weight)
    nn.init.zeros_(module.gate.weight)
    coarse, fine = torch.randn(2, 4, 5, 7), torch.randn(2, 4, 9, 13)
    expected = (F.interpolate(coarse, (9, 13), mode="bilinear", align_corners=True) + fine) / 2
    assert torch.allclose(module(coarse, fine), expected, atol=1e-5)


@pytest.mark.parametrize(
    "factory", [FlowFuse, GatedFlowFuse, lambda c, w: GatedFlowFuse(c, w, gate="pooling")], ids=["v1", "v2", "pooling"]
)
@pytest.mark.parametrize(("coarse_size", "fine_size"), [((5, 7), (9, 13)), ((1, 1), (2, 2)), ((6, 4), (6, 4))], ids=str)
def test_fuses_give_the_fine_size_and_reach_every_parameter(factory, coarse_size, fine_size):
    torch.manual_seed(0)
    fuse = factory(5, 8).train()
    coarse = torch.randn(2, 8, *coarse_size, requires_grad=True)
    fine = torch.randn(2, 5, *fine_size, requires_grad=True)
    out = fuse(coarse, fine)
    assert out.shape == (2, 8, *fine_size)
    (out * torch.randn_like(out)).sum().backward()
    for name, tensor in [("coarse", coarse), ("fine", fine), *fuse.named_parameters()]:
        assert tensor.grad is not None and tensor.grad.isfinite().all(), name


def test_an_unknown_gate_is_named():
    with pytest.raises(ConfigError, match='did you mean "pooling"'):
        AlignedModuleV2(4, 2, gate="poolin")


@pytest.mark.parametrize("fuse", [FlowFuse, GatedFlowFuse])
def test_head_on_odd_sizes_with_gradients_everywhere(fuse):
    torch.manual_seed(0)
    channels = [3, 4, 5, 6]
    head = SFNetHead(channels, 7, context=PyramidPooling(6, 8), width=8, fuse=fuse, auxiliary=True).train()
    sizes = [(17, 25), (9, 13), (5, 7), (3, 4)]
    maps = [torch.randn(2, c, *s) for c, s in zip(channels, sizes, strict=True)]
    levels = head.fuse(maps)
    assert [level.shape for level in levels] == [(2, 8, *s) for s in sizes]
    logits, auxiliary = head.answer(levels), head.auxiliary_logits(levels)
    assert logits.shape == (2, 7, 17, 25)
    assert [a.shape for a in auxiliary] == [(2, 7, *s) for s in sizes[:-1]]
    sum((a * torch.randn_like(a)).sum() for a in (logits, *auxiliary)).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_head_without_auxiliary_answers_alone():
    head = SFNetHead([3, 6], 7, context=PyramidPooling(6, 8), width=8)
    maps = [torch.randn(1, 3, 8, 8), torch.randn(1, 6, 4, 4)]
    assert head.auxiliary_logits(head.fuse(maps)) == []
    assert head(maps).shape == (1, 7, 8, 8)
