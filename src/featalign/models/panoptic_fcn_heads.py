"""The three heads of Panoptic FCN (CVPR 2021, section 3): where objects and regions are, with which kernels to
look for them, and in which map.

P3 … P7 ─┬─▶ PositionHead ──────────────▶ centres of things, regions of stuff
         └─▶ with_coordinates, KernelHead ─▶ a kernel at each cell
P2 … P5 ───▶ climb, +, with_coordinates, FeatureEncoder ─▶ the map at stride 4 that kernels are multiplied with
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.align.fapn import DeformableConv, conv_norm
from featalign.models.semantic_fpn import Climb, climbed

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
NORM_GROUPS = 32
_DEPTH = 3  # convolutions of each head
_RARE = -2.19  # logit of a position before it has learnt: one in ten


class PositionHead(nn.Module):
    """A stage (B, width, h, w) to logits of centres (B, things, h, w) and of regions (B, 1 + stuff, h, w).

    Channel 0 of the regions is "a thing". Its convolutions are deformable, as in the published configurations.
    """

    def __init__(self, width: int, things: int, stuff: int) -> None:
        super().__init__()
        self.tower = nn.Sequential(*(Deformed(width) for _ in range(_DEPTH)))
        self.centres = _drawn(nn.Conv2d(width, things, 3, padding=1), _RARE)
        self.regions = _drawn(nn.Conv2d(width, 1 + stuff, 3, padding=1), _RARE)

    def forward(self, stage: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.tower(stage)
        return self.centres(seen), self.regions(seen)


class Deformed(nn.Module):
    """Deformable 3x3 convolution that dictates its own offsets, group normalization, ReLU; keeps (B, width, h, w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = DeformableConv(width, width, groups=1)
        self.norm = nn.GroupNorm(NORM_GROUPS, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.convolution(x, x)))


class KernelHead(nn.Module):
    """A stage (B, width, h, w) to what kernels are made from, (B, width, h, w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers = [_layer(width + 2 * (step == 0), width) for step in range(_DEPTH)]
        self.tower = nn.Sequential(*layers, _drawn(nn.Conv2d(width, width, 3, padding=1), 0.0))

    def forward(self, stage: Tensor) -> Tensor:
        return self.tower(with_coordinates(stage))


class FeatureEncoder(nn.Module):
    """Levels (B, width, h_i, w_i), finest first, to the encoded map (B, channels, h_0, w_0), not negative.

    Args:
        levels: how many; they climb as in Semantic FPN.
        width: channels of each, and of the climb.
        channels: of the result, and so of a kernel.
    """

    def __init__(self, levels: int, width: int, channels: int) -> None:
        super().__init__()
        self.climbs = nn.ModuleList(Climb(width, width, max(1, steps), norm="GN") for steps in range(levels))
        sizes = [width + 2, *[channels] * _DEPTH]
        self.tower = nn.Sequential(*(_plain(before, after) for before, after in pairwise(sizes)))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        return self.tower(with_coordinates(climbed(self.climbs, levels)))


def with_coordinates(maps: Tensor) -> Tensor:
    """(B, C, h, w) to (B, C + 2, h, w): the row and the column of each cell besides, -1 at the first, 1 at the last
    (CoordConv, NeurIPS 2018)."""
    kind = torch.promote_types(maps.dtype, torch.float32)  # steps of half precision would not add up
    rows, columns = (torch.linspace(-1, 1, cells, device=maps.device, dtype=kind) for cells in maps.shape[-2:])
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).to(maps.dtype)
    return torch.cat((maps, grid.expand(len(maps), -1, -1, -1)), 1)


def kernel_embedding(width: int, channels: int) -> nn.Linear:
    """What makes kernels of ``channels`` from those of the head, (…, width); one for things, one for stuff."""
    return _drawn(nn.Linear(width, channels), 0.0)


def _layer(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(*conv_norm(in_channels, out_channels, 3, norm="GN"), nn.ReLU(inplace=True))


def _plain(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(*conv_norm(in_channels, out_channels, 3, bias=True), nn.ReLU(inplace=True))


def _drawn(layer: Layer, bias: float) -> Layer:
    """Small weights and one bias, as the published code draws its last layers."""
    assert layer.bias is not None
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.constant_(layer.bias, bias)
    return layer
