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
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.align import ImplicitFunction
from featalign.backbones import Pyramid
from featalign.layers import Conv2d
from featalign.models.auxiliary import AuxiliaryHead
from featalign.models.network import Features
from featalign.models.segmentor import Segmentor
from featalign.spec import Classes

HostAlign = Literal["ifa", "bilinear"]


class Concatenate(nn.Module):
    """Levels (B, C_i, h_i, w_i), finest first, to (B, sum of C_i, h_0, w_0): bilinear between cell centres."""

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        finest, *coarser = levels
        spread = [F.interpolate(level, size=finest.shape[-2:], mode="bilinear") for level in coarser]
        return torch.cat([finest, *spread], 1)


class LogitMap(nn.Module):
    """A 1x1 classifier on the one map (B, in_channels, h, w) that the levels were joined to."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.classify = Conv2d(in_channels, classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (B, K, h, w) on the map's own grid."""
        (joined,) = maps
        logits: Tensor = self.classify(joined)
        return logits


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
            coarsest=max(backbone.strides),
            auto_mode="dense" if seamless else "resized",
            align_corners=align_corners,
        )
        self.backbone = backbone
        self.join = join
        self.decoder = decoder
        self.auxiliary = auxiliary

    @abstractmethod
    def levels(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Backbone maps to the levels that are to be aligned, finest first, and the map for the auxiliary answer."""

    def maps(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        levels, deep = self.levels(self.backbone(images))
        return levels if self.join is None else [self.join(levels)], deep

    @property
    def implicit(self) -> ImplicitFunction | None:
        return self.decoder if isinstance(self.decoder, ImplicitFunction) else None

    def native(self, features: Features) -> Tensor:
        logits: Tensor = self.decoder(features.maps)
        return logits
