"""A pyramid of maps for detectors: any timm backbone, a top-down pathway with any fuse, further coarse maps.

image ──▶ C5 ──1x1──▶ P5 ──────────────┬─3x3─▶ "3" ──▶ "pool", every second cell
          C4 ───────▶ fuse ──▶ P4 ─────┼─3x3─▶ "2"       or "p6", "p7" from C5, 3x3 of stride 2 each
          C3 ───────▶ fuse ──▶ P3 ─────┼─3x3─▶ "1"
          C2 ───────▶ fuse ──▶ P2 ─────┴─3x3─▶ "0"

The names are those that torchvision's detectors read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from featalign.align.fapn import Norm, conv_norm
from featalign.align.fuses import FaPNName, Fuse, FuseName, fuse_factory
from featalign.align.pathways import TopDown
from featalign.backbones import Pyramid, freeze_levels, freeze_norms
from featalign.errors import ConfigError, check_count, check_flags, did_you_mean

PyramidFuse = Literal["add"] | FuseName
Top = Literal["pool", "p6p7", "p6p7_from_p5", "none"]


class Subsampled(nn.Module):
    """One further map: every second row and column of the coarsest (FPN, section 4.1); no parameters."""

    names = ("pool",)

    def forward(self, coarsest: Tensor, source: Tensor) -> list[Tensor]:
        return [coarsest[..., ::2, ::2]]


class ExtraLevels(nn.Module):
    """RetinaNet's p6 and p7 (ICCV 2017, section 4): two maps of ``width`` channels, each half as large as the last.

    Made from the backbone's last map, ``source`` (B, in_channels, h, w), not from the pyramid's.
    """

    names = ("p6", "p7")

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.p6 = nn.Conv2d(in_channels, width, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, coarsest: Tensor, source: Tensor) -> list[Tensor]:
        p6 = self.p6(source)
        return [p6, self.p7(F.relu(p6))]


class ExtraLevelsFromPyramid(ExtraLevels):
    """The same two maps, made from the pyramid's own coarsest map of ``width`` channels."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)

    def forward(self, coarsest: Tensor, source: Tensor) -> list[Tensor]:
        return super().forward(coarsest, coarsest)


class Neck(nn.Module):
    """Backbone maps (B, channels[i], h_i, w_i), finest first, to maps of ``width`` channels, finest first.

    Args:
        channels: of the backbone maps.
        width: channels of every result.
        fuse: ``fuse(fine_channels, width)`` builds one step, see :data:`~featalign.align.fuses.FUSES`.
        norm: normalization after the convolutions at the top and on the way out, which then have no bias.
        smooth_top: whether the coarsest map passes a 3x3 convolution on its way out, as in FPN; in the published FaPN
            it does not.
        extra: makes further maps from the coarsest one and the backbone's last; None for none.

    Attributes:
        names: of the results: ``"0"``, ``"1"``, … and those of ``extra``.
    """

    def __init__(
        self,
        channels: Sequence[int],
        width: int,
        fuse: Fuse,
        *,
        norm: Norm | None = None,
        smooth_top: bool = True,
        extra: Subsampled | ExtraLevels | None = None,
    ) -> None:
        super().__init__()
        convolution = partial(conv_norm, norm=norm, bias=norm is None)
        self.pathway = TopDown(
            channels, width, fuse, top=convolution, smooth=partial(convolution, kernel=3), smooth_top=smooth_top
        )
        self.extra = extra
        self.width = width
        self.names = (*map(str, range(len(channels))), *(extra.names if extra else ()))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        levels = self.pathway(maps)
        return levels if self.extra is None else [*levels, *self.extra(levels[-1], maps[-1])]


class FeaturePyramid(nn.Module):
    """What torchvision's detectors call a backbone: images (B, C, H, W) to maps by name, finest first.

    Attributes:
        out_channels: of every map.
        strides: pitch of the maps in input pixels.
    """

    def __init__(self, backbone: Pyramid, neck: Neck) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.out_channels = neck.width
        further = len(neck.names) - len(backbone.strides)
        self.strides = (*backbone.strides, *(backbone.strides[-1] << step for step in range(1, further + 1)))

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        return OrderedDict(zip(self.neck.names, self.neck(self.backbone(images)), strict=True))


def pyramid(
    backbone: str,
    *,
    fuse: PyramidFuse | Fuse = "fapn",
    levels: Sequence[int] = (4, 8, 16, 32),
    top: Top = "pool",
    width: int = 256,
    norm: Norm | None = None,
    pretrained: bool | str = False,
    in_channels: int = 3,
    frozen_norms: bool = False,
    frozen_levels: int = 0,
) -> FeaturePyramid:
    """A backbone for torchvision's ``FasterRCNN``, ``MaskRCNN``, ``RetinaNet`` and ``FCOS``; see the figure above.

    Args:
        backbone: of timm, or a deep-stem residual network, see :class:`~featalign.backbones.Pyramid`.
        fuse: what joins two levels: ``add`` (FPN), another of :data:`~featalign.align.fuses.FUSES`, or a factory of
            your own ``(fine_channels, width) -> nn.Module``.
        levels: strides of the backbone maps; (8, 16, 32) in RetinaNet and FCOS.
        top: the maps beyond: ``pool``, one, of every second cell (Faster and Mask R-CNN); ``p6p7``, two (RetinaNet,
            FCOS); ``p6p7_from_p5``, the same two from the pyramid's last map (Panoptic FCN); ``none``.
        width: channels of every map.
        norm: normalization of the pathway; none as in FPN and FaPN.
        pretrained, in_channels: see :class:`~featalign.backbones.Pyramid`.
        frozen_norms: keep batch normalization in the backbone as it was trained; for pretrained weights, as FaPN
            (supplement A) and torchvision have it.
        frozen_levels: how many of the finest backbone maps, with all that they are made from, do not learn.
            torchvision's ``trainable_layers=3`` is 1 here.

    Raises:
        ConfigError: for an unknown name, levels that the backbone lacks, or a width that a fuse cannot divide.
    """
    if top not in get_args(Top):
        raise ConfigError(f'unknown top "{top}": {did_you_mean(top, get_args(Top))}')
    if not levels or list(levels) != sorted(set(levels)):
        raise ConfigError(f"levels must be strides, finest first, such as (4, 8, 16, 32); got {tuple(levels)}")
    check_count(width=width)
    check_flags(frozen_norms=frozen_norms)
    body = Pyramid(backbone, in_channels=in_channels, pretrained=pretrained, strides=levels)
    freeze_levels(body, frozen_levels)
    if frozen_norms:
        freeze_norms(body)
    extras: dict[Top, Callable[[], Subsampled | ExtraLevels | None]] = {
        "pool": Subsampled,
        "p6p7": lambda: ExtraLevels(body.channels[-1], width),
        "p6p7_from_p5": lambda: ExtraLevelsFromPyramid(width),
        "none": lambda: None,
    }
    neck = Neck(
        body.channels,
        width,
        fuse_factory("nearest" if fuse == "add" else fuse),
        norm=norm,
        smooth_top=fuse not in get_args(FaPNName),
        extra=extras[top](),
    )
    return FeaturePyramid(body, neck)
