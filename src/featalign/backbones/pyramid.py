"""Any timm backbone as a pyramid of maps: typed channels and strides; layout and size quirks end here.

    images (B, C, H, W) ──▶ stride 4, 8, 16, 32: (B, C_i, ceil(H / s_i), ceil(W / s_i)), channels first

(With ``ceil_pool`` there may be a cell more per side.)
Levels are chosen by their stride, never by their index. Names with an "s" (resnet18s, resnet34s, resnet50s,
resnet101s) are the deep-stem residual networks of the papers' counts: three 3x3 convolutions (64, 64, 128) in place
of the 7x7 one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from featalign.backbones.body import UNDILATED, create_body
from featalign.backbones.stages import (
    check_changes,
    dilate_last_stage,
    pool_before_second_stage,
    round_pooling_up,
    undilated,
)
from featalign.errors import ConfigError, check_count

_FIRST = 4  # stride of the first stage


class Pyramid(nn.Module):
    """A timm backbone that returns one map per stride, finest first, in (B, C, h, w) layout.

    Args:
        name: of a timm model with feature maps, or one of the deep-stem names above.
        in_channels: channels of the images; timm adapts pretrained first convolutions.
        pretrained: load timm's published weights: True downloads them, a path reads a file of them.
        strides: the levels wanted, by their stride in the backbone as it is; what it becomes by the last two options is
            in :attr:`strides`.
        ceil_pool: let the stem's max-pooling round sizes up, as the published code of IFA and AlignSeg does: a
            1024-pixel side then has 257 cells at stride 4, not 256, and one of 300 pixels 76, not 75.
        multi_grid: dilations of the last stage's blocks; the published IFA weights have (2, 2, 4).
        output_stride: 8 or 16 dilates the last stages in place of their strides (DeepLabV3, section 3.1); 32 is the
            backbone as it is.
        extra_stride: average pooling by this factor after the first stage (IFA, Table 3): 2 gives strides
            4, 16, 32, 64.

    Attributes:
        strides: pitch of the maps in input pixels, finest first.
        channels: of the maps.

    Raises:
        ConfigError: for an unknown name, or a backbone that lacks a stride or cannot be changed so; the message says
            what there is.
    """

    def __init__(
        self,
        name: str,
        *,
        in_channels: int = 3,
        pretrained: bool | str | os.PathLike[str] = False,
        strides: Sequence[int] = (4, 8, 16, 32),
        ceil_pool: bool = False,
        multi_grid: Sequence[int] | None = None,
        output_stride: int = 32,
        extra_stride: int = 1,
    ) -> None:
        super().__init__()
        check_count(in_channels=in_channels)
        check_changes(output_stride, extra_stride)
        self.body = create_body(name, in_channels, pretrained=pretrained, output_stride=output_stride)
        self.in_channels = in_channels
        self.strides = tuple(min(s, output_stride) * (extra_stride if s > _FIRST else 1) for s in strides)
        features: Any = self.body.feature_info
        reductions: list[int] = features.reduction()
        if output_stride < UNDILATED:
            reductions = undilated(reductions)
        missing = [stride for stride in strides if stride not in reductions]
        if missing:
            raise ConfigError(
                f'backbone "{name}" has no map of stride {_listed(missing)}; its strides are {_listed(reductions)}; '
                "choose a backbone whose maps shrink from stage to stage (resnet, convnext, swin, hrnet, …)"
            )
        self._levels = [len(reductions) - 1 - reductions[::-1].index(stride) for stride in strides]
        self.channels = tuple(features.channels()[level] for level in self._levels)
        self._channels_last = str(getattr(self.body, "output_fmt", "NCHW")).endswith("NHWC")
        if ceil_pool:
            round_pooling_up(self.body, name)
        if multi_grid is not None:
            dilate_last_stage(self.body, name, multi_grid)
        if extra_stride > 1:
            first = len(reductions) - 1 - reductions[::-1].index(_FIRST)
            pool_before_second_stage(
                self.body, name, level=first, factor=extra_stride, channels_last=self._channels_last
            )
        self._pads = False
        if not all(self._covers(side) for side in (1, max(self.strides) + 1)):
            self._pads = True
            if not self._covers(1):
                raise ConfigError(
                    f'backbone "{name}" accepts only image sizes of its own; choose one that takes any size'
                )

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, C, H, W) of any size from 1 pixel to one map per stride, finest first.

        A backbone that would drop a remainder of pixels, or refuse the size, is given a border of repeated pixels,
        and the maps are cut back.

        Raises:
            ValueError: when training on a single image so small that its last map is one cell: batch normalization
                has no variance there.
        """
        height, width = images.shape[-2:]
        alone = self.training and not self._pads and images.shape[0] == 1
        single_cell = alone and max(height, width) <= max(self.strides)
        if single_cell and any(isinstance(layer, _BatchNorm) for layer in self.body.modules()):
            raise ValueError(
                f"cannot train on one image of {height}x{width} pixels: its map at stride {max(self.strides)} is a "
                "single cell, which batch normalization cannot use; take a larger crop or a batch of at least 2"
            )
        if not self._pads:
            return self._maps(images)
        cut = [(-(-height // stride), -(-width // stride)) for stride in self.strides]  # no .pt2 has a ceil
        maps = self._maps(_pad(images, max(self.strides)))
        return [_cut(level, *size) for level, size in zip(maps, cut, strict=True)]

    def _maps(self, images: Tensor) -> list[Tensor]:
        maps = self.body(images)
        chosen = [maps[level] for level in self._levels]
        return [level.permute(0, 3, 1, 2) for level in chosen] if self._channels_last else chosen

    @torch.no_grad()
    def _covers(self, side: int) -> bool:
        """Whether a small image, of a side that no stride divides, comes out rounded up at every level (tried once)."""
        images = torch.zeros(1, self.in_channels, side, side, device=next(self.body.parameters()).device)
        was_training = self.training
        try:
            maps = self.eval()(images)
        except (RuntimeError, AssertionError):
            return False
        finally:
            self.train(was_training)
        return all(
            level.shape[-1] >= math.ceil(side / stride) for level, stride in zip(maps, self.strides, strict=True)
        )


def _pad(images: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column up to a multiple of ``stride`` and to at least two cells of it."""
    height, width = images.shape[-2:]
    missing = [max(-side % stride, 2 * stride - side) for side in (width, height)]
    return F.pad(images, (0, missing[0], 0, missing[1]), mode="replicate")


def _cut(level: Tensor, height: int, width: int) -> Tensor:
    """The first rows and columns of a map (B, C, h, w): (B, C, height, width)."""
    if torch.compiler.is_exporting():  # a slice asks whether it is all of the map, which symbols cannot say
        rows, columns = (torch.arange(side, device=level.device) for side in (height, width))
        return level.index_select(2, rows).index_select(3, columns)
    return level[..., :height, :width]


def _listed(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in values)
