"""The two pathways against torchvision's FPN and against their steps written out."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from featalign.align.pathways import BottomUp, TopDown
from featalign.align.resample import bilinear_add, nearest_add
from featalign.errors import ConfigError

CHANNELS = (4, 6, 8)
SIZES = ((16, 24), (8, 12), (4, 6))
SMOOTH = partial(nn.Conv2d, kernel_size=3, padding=1)


def maps(sizes: tuple[tuple[int, int], ...] = SIZES) -> list[Tensor]:
    return [torch.randn(2, c, *size) for c, size in zip(CHANNELS, sizes, strict=True)]


def test_top_down_with_nearest_addition_is_fpn():
    torch.manual_seed(0)
    ours, theirs = TopDown(CHANNELS, 5, nearest_add, smooth=SMOOTH), FeaturePyramidNetwork(list(CHANNELS), 5)
    laterals = [*(fuse.lateral for fuse in ours.fuses), ours.top]
    for own, other in zip([*laterals, *ours.smooth], [*theirs.inner_blocks, *theirs.layer_blocks], strict=True):
        own.load_state_dict(other[0].state_dict())
    levels = maps()
    expected = theirs({str(i): level for i, level in enumerate(levels)})
    for got, level in zip(ours(levels), expected.values(), strict=True):
        assert torch.allclose(got, level, atol=1e-5)


def test_top_down_smooths_copies_and_may_spare_the_top():
    torch.manual_seed(0)
    smoothed = TopDown(CHANNELS, 5, bilinear_add, smooth=SMOOTH, smooth_top=False)
    bare = TopDown(CHANNELS, 5, bilinear_add)
    bare.load_state_dict({name: value for name, value in smoothed.state_dict().items() if "smooth" not in name})
    levels = maps(((17, 25), (9, 13), (5, 7)))
    fused = bare(levels)
    for i, got in enumerate(smoothed(levels)):
        assert torch.allclose(got, fused[i] if i == 2 else smoothed.smooth[i](fused[i]), atol=1e-6)


def test_top_down_takes_any_top_and_a_single_level():
    pathway = TopDown([8], 5, nearest_add, top=lambda c, w: nn.Conv2d(c, w, 3, padding=1))
    assert [level.shape for level in pathway([torch.randn(1, 8, 4, 6)])] == [(1, 5, 4, 6)]
    with pytest.raises(ConfigError, match="at least one map"):
        TopDown([], 5, nearest_add)


@pytest.mark.parametrize("refine", [None, SMOOTH], ids=["plain", "refined"])
def test_bottom_up_step_by_step(refine):
    torch.manual_seed(0)
    pathway = BottomUp(CHANNELS, 5, bilinear_add, refine=refine)
    levels = maps(((17, 25), (9, 13), (5, 7)))
    results = pathway(levels)
    assert [result.shape for result in results] == [(2, 5, 17, 25)] * 3
    running = pathway.enter[0](levels[0])
    assert torch.equal(results[0], running)
    for i in (1, 2):
        running = pathway.refine[i - 1](pathway.fuses[i - 1](pathway.enter[i](levels[i]), running))
        assert torch.allclose(results[i], running, atol=1e-6)


class Halving(nn.Module):
    """A fuse that forgets the finer map's grid."""

    def __init__(self, fine_channels: int, width: int) -> None:
        super().__init__()

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return coarse


@pytest.mark.parametrize("pathway", [TopDown, BottomUp])
def test_a_fuse_on_another_grid_is_named(pathway):
    levels = maps(((17, 25), (9, 13), (5, 7)))
    with pytest.raises(ConfigError, match=r"Halving gave a map of \(\d+, \d+\) cells for a finer map of \(\d+, \d+\)"):
        pathway(CHANNELS, 5, Halving)(levels)
