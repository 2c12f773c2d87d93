"""What the networks of other papers share here: an implicit function in place of their own up-sampling.

    images ─▶ backbone ─▶ levels ─┬─ align="ifa" ──────▶ ImplicitFunction, asked at any coordinate ──▶ K logits
                                  └─ align="bilinear" ─▶ join (one map) ─▶ LogitMap, read bilinearly ─▶ K logits

IFA, section 4.3 ("Extension to Other Models"), tells which maps of each network are aligned (Table 2), and no more. As
in its FPN (Fig. 2), the implicit function here answers with the logits: its MLP takes the place of what the network
does after its own up-sampling.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.align import ImplicitFunction
from featalign.backbones import Pyramid
from featalign.errors import ConfigError, did_you_mean
from featalign.models.segmentor import AuxiliaryHead, Features, Segmentor
from featalign.ops.sampling import sample_at
from featalign.spec import Classes

HostAlign = Literal["ifa", "bilinear"]


class Concatenate(nn.Module):
    """Levels (B, C_i, h_i, w_i), finest first, to (B, sum of C_i, h_0, w_0): bilinear between cell centres."""

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        finest, *coarser = levels
        spread = [F.interpolate(level, size=finest.shape[-2:], mode="bilinear") for level in coarser]
        return torch.cat([finest, *spread], 1)


class LogitMap(nn.Module):
    """A 1x1 classifier on one map (B, in_channels, h, w), with the calls of the implicit function.

    Between cell centres its logits are interpolated bilinearly (``align_corners=False``), on a grid and at points
    alike; the outermost ones reach to the border.
    """

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.classify = nn.Conv2d(in_channels, classes, 1)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int] | None = None) -> Tensor:
        """Logits at the pixel centres of a grid of ``size`` (default: the map's own): (B, K, *size)."""
        (joined,) = maps
        logits: Tensor = self.classify(joined)
        return logits if size is None else F.interpolate(logits, size=size, mode="bilinear")

    def at(self, maps: Sequence[Tensor], points: Tensor) -> Tensor:
        """Logits at ``points`` (B or 1, …, 2), (x, y) in [0, 1]: (B, K, …)."""
        return sample_at(self(maps), points)


class Host(Segmentor):
    """A network whose levels an implicit function answers from, or that joins them on the finest grid in its own way.

    Args:
        classes: what it tells apart.
        backbone: gives the maps.
        strides: pitch of the levels, in input pixels.
        decoder: the implicit function over the levels, or the classifier of what ``join`` gives.
        join: levels, finest first, to one map on the finest grid; None leaves them as they are.
        auxiliary: a head for training, on the map that :meth:`levels` gives for it.
        align_corners: how the ``resized`` mode resizes.
    """

    def __init__(
        self,
        classes: Classes,
        *,
        backbone: Pyramid,
        strides: tuple[int, ...],
        decoder: ImplicitFunction | LogitMap,
        join: nn.Module | None,
        auxiliary: AuxiliaryHead | None,
        align_corners: bool,
    ) -> None:
        seamless = isinstance(decoder, ImplicitFunction) and decoder.seamless
        super().__init__(
            classes,
            in_channels=backbone.in_channels,
            strides=strides[:1] if join is not None else strides,
            auto_mode="dense" if seamless else "resized",
            align_corners=align_corners,
        )
        self.backbone = backbone
        self.join = join
        self.decoder = decoder
        self.auxiliary = auxiliary
        self.supervised = auxiliary is not None

    @abstractmethod
    def levels(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Backbone maps to the levels that are to be aligned, finest first, and the map for the auxiliary answer."""

    def encode(self, images: Tensor) -> Features:
        self.check_images(images)
        levels, deep = self.levels(self.backbone(images))
        if self.join is not None:
            levels = [self.join(levels)]
        size = (images.shape[-2], images.shape[-1])
        return Features(levels, self.strides, size, deep if self.training and self.supervised else None)

    def answer_grid(self, features: Features, size: tuple[int, int] | None) -> Tensor:
        logits: Tensor = self.decoder(features.maps, size)
        return logits

    def query(self, features: Features, points: Tensor) -> Tensor:
        return self.decoder.at(features.maps, points)


def check_align(align: str, network: str) -> None:
    """Raises ConfigError unless ``align`` is one that the hosts have."""
    if align not in get_args(HostAlign):
        raise ConfigError(f'unknown align "{align}" for {network}: {did_you_mean(align, get_args(HostAlign))}')
