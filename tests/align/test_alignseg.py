"""AlignFA and its parts: what moves, what stays, and where they start."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.align.alignseg import AlignFA, AlignFAFuse, ResidualConvBlock
from featalign.errors import ConfigError
from featalign.ops.warp import warp

DIRECTIONS = ["both", "coarse", "fine", "none"]


def stir(module: nn.Module) -> nn.Module:
    """Away from the zero start of the offset predictors."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def upsampled(coarse: Tensor, fine: Tensor) -> Tensor:
    return F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=True)


class Constant(nn.Module):
    """An offset predictor that answers the same everywhere."""

    def __init__(self, x: float, y: float) -> None:
        super().__init__()
        self.offset = torch.tensor([x, y]).view(1, 2, 1, 1)

    def forward(self, pair: Tensor) -> Tensor:
        return self.offset.expand(pair.shape[0], -1, *pair.shape[-2:])


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_starts_as_the_plain_sum(directions):
    coarse, fine = torch.randn(2, 8, 5, 7), torch.randn(2, 8, 9, 13)
    got = AlignFA(8, directions=directions)(coarse, fine)
    assert torch.allclose(got, upsampled(coarse, fine) + fine, atol=1e-5)


def test_each_map_has_its_own_offset():
    align = AlignFA(4)
    align.coarse_offset, align.fine_offset = Constant(1, 0), Constant(0, -2)
    coarse, fine = torch.randn(1, 4, 3, 4), torch.randn(1, 4, 6, 8)
    got = align(coarse, fine)
    wide = upsampled(coarse, fine)
    expected = torch.zeros_like(fine)
    expected[..., :-1] += wide[..., 1:]
    expected[..., 2:, :] += fine[..., :-2, :]
    assert torch.allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_only_the_named_maps_move(directions):
    align = stir(AlignFA(8, directions=directions)).eval()
    coarse, fine = torch.randn(1, 8, 5, 7), torch.randn(1, 8, 9, 13)
    zeros = torch.zeros_like
    fine_stays = torch.allclose(align(zeros(coarse), fine), fine, atol=1e-5)
    coarse_stays = torch.allclose(align(coarse, zeros(fine)), upsampled(coarse, fine), atol=1e-5)
    assert fine_stays == (directions in ("coarse", "none"))
    assert coarse_stays == (directions in ("fine", "none"))


def test_one_direction_has_half_the_parameters():
    both, coarse, fine, none = (
        sum(p.numel() for p in AlignFA(16, directions=directions).parameters()) for directions in DIRECTIONS
    )
    assert both == 2 * coarse == 2 * fine and none == 0


def test_sampling_reaches_both_warps():
    torch.manual_seed(0)
    align = stir(AlignFA(4, sampling="head")).eval()
    coarse, fine = torch.randn(1, 4, 5, 7), torch.randn(1, 4, 5, 7)
    pair = torch.cat((fine, coarse), 1)
    expected = warp(coarse, align.coarse_offset(pair), sampling="head")
    expected = expected + warp(fine, align.fine_offset(pair), sampling="head")
    assert torch.allclose(align(coarse, fine), expected, atol=1e-6)


@pytest.mark.parametrize("directions", DIRECTIONS)
@pytest.mark.parametrize("sizes", [((5, 7), (9, 13)), ((4, 4), (4, 4)), ((1, 1), (2, 3)), ((1, 1), (1, 1))])
def test_fuse_answers_at_fines_size_and_trains(directions, sizes):
    fuse = stir(AlignFAFuse(6, 8, directions=directions))
    coarse, fine = torch.randn(1, 8, *sizes[0]), torch.randn(1, 6, *sizes[1])
    got = fuse(coarse, fine)
    assert got.shape == (1, 8, *sizes[1])
    got.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fuse.parameters())


def test_gradients_reach_every_parameter():
    fuse = stir(AlignFAFuse(6, 8))
    fuse(torch.randn(2, 8, 5, 7), torch.randn(2, 6, 9, 13)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in fuse.parameters())


def test_residual_block_has_the_papers_layers():
    """Section 3.1: 1x1 to 256, 3x3 to 64, 3x3 back."""
    block = ResidualConvBlock(512, 256)
    convolutions = [tuple(m.weight.shape) for m in block.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions == [(256, 512, 1, 1), (64, 256, 3, 3), (256, 64, 3, 3)]


def test_residual_block_adds_its_input():
    block = ResidualConvBlock(8, 8).eval()
    nn.init.zeros_(block.residual[-1].weight)
    x = torch.randn(1, 8, 5, 6)
    unified = F.conv2d(x, block.unify.weight)
    assert torch.allclose(block(x), F.leaky_relu(unified / (1 + 1e-5) ** 0.5, 0.01), atol=1e-6)


def test_wrong_options_are_named():
    with pytest.raises(ConfigError, match='unknown directions "course": did you mean "coarse"'):
        AlignFA(8, directions="course")
    with pytest.raises(ConfigError, match='unknown sampling "heads": did you mean "head"'):
        AlignFAFuse(8, 8, sampling="heads")
    with pytest.raises(ConfigError, match="multiple of 4"):
        ResidualConvBlock(8, 6)
