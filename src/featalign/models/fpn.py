"""FPN with the levels aligned by an implicit function (IFA, Fig. 2), or by one of its plain siblings (IFA Table 1).

image ──▶ backbone ──▶ stride 4   C2 ──1x1──▶ width ─┐
                       stride 8   C3 ──1x1──▶ width ─┤   asked at any coordinate
                       stride 16  C4 ──1x1──▶ width ─┼──▶ ImplicitFunction ──▶ K logits
                       stride 32  C5 ──1x1 or ASPP──▶┘
                                  C4 ──▶ auxiliary head (training)

In place of the four 1x1 convolutions may stand a top-down pathway with any fuse: then the function reads levels that
are aligned already, and answers between their cells. The resamplers with parameters (deconvolution, up-sampling module,
CARAFE) stand before the function, which then finds all levels on one grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

from torch import Tensor, nn

from featalign.align import ImplicitFunction
from featalign.align.carafe import Carafe
from featalign.align.encoding import Encoding, Frequencies
from featalign.align.fapn import conv_norm
from featalign.align.fuses import Fuse, FuseName, fuse_factory
from featalign.align.ifa import Resample
from featalign.align.pathways import TopDown
from featalign.align.resample import Deconvolution, UpsamplingModule
from featalign.backbones import Pyramid
from featalign.context import ASPP
from featalign.errors import check_count
from featalign.layers import conv_norm_relu
from featalign.models.auxiliary import AuxiliaryHead
from featalign.models.choices import named_choices
from featalign.models.network import Features
from featalign.models.segmentor import Segmentor
from featalign.spec import Classes

Align = Literal["ifa", "bilinear", "nearest", "deconvolution", "upsampling", "carafe"]
Pathway = Literal["none"] | FuseName


class Laterals(nn.ModuleList):
    """Backbone maps (B, channels[i], h_i, w_i), finest first, to levels (B, width, h_i, w_i): each by a 1x1
    convolution, norm and ReLU (IFA, Fig. 2).

    Args:
        channels: of the backbone maps.
        width: channels of every level.
        aspp: put atrous spatial pyramid pooling, with this many channels per branch, on the coarsest map (IFA*); 0
            for none.
    """

    def __init__(self, channels: Sequence[int], width: int, *, aspp: int = 0) -> None:
        *fine, coarse = channels
        top = ASPP(coarse, width, inner=aspp) if aspp else conv_norm_relu(coarse, width, bias=True)
        super().__init__([*(conv_norm_relu(count, width, bias=True) for count in fine), top])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [lateral(level) for lateral, level in zip(self, maps, strict=True)]


class ImplicitDecoder(nn.Module):
    """Backbone maps, finest first, to K logits on any grid.

    Args:
        laterals: backbone maps (B, C_i, h_i, w_i), finest first, to the levels (B, width, h_i, w_i) that ``function``
            reads: :class:`Laterals`, or a :class:`~featalign.align.TopDown` pathway.
        function: the rest, see :class:`~featalign.align.ImplicitFunction`.
        resamplers: bring each level but the finest to the finest one's grid, as ``resampler(level, size)``; without
            them every level stays on its own.
    """

    def __init__(
        self, laterals: nn.Module, function: ImplicitFunction, *, resamplers: Sequence[nn.Module] = ()
    ) -> None:
        super().__init__()
        self.laterals = laterals
        self.resamplers = nn.ModuleList(resamplers)
        self.function = function

    def project(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Backbone maps to the levels that the function reads, on one grid if there are resamplers."""
        levels: list[Tensor] = self.laterals(maps)
        if not self.resamplers:
            return levels
        finest, *coarser = levels
        size = (finest.shape[-2], finest.shape[-1])
        return [finest, *(resample(level, size) for resample, level in zip(self.resamplers, coarser, strict=True))]

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int] | None = None) -> Tensor:
        """Backbone maps to logits (B, K, *size), on the finest map's grid by default."""
        return self.function(self.project(maps), size)


class FPN(Segmentor):
    """See the figure above; ``config`` and arguments as in :func:`fpn`."""

    def __init__(
        self,
        classes: Classes,
        *,
        backbone: Pyramid,
        decoder: ImplicitDecoder,
        auxiliary: AuxiliaryHead | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            classes,
            in_channels=backbone.in_channels,
            strides=backbone.strides[:1] * len(backbone.strides) if decoder.resamplers else backbone.strides,
            coarsest=max(backbone.strides),
            auto_mode="dense" if decoder.function.seamless else "resized",
            align_corners=align_corners,
        )
        self.backbone = backbone
        self.decoder = decoder
        self.auxiliary = auxiliary

    def maps(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        maps = self.backbone(images)
        return self.decoder.project(maps), maps[2]

    @property
    def implicit(self) -> ImplicitFunction:
        return self.decoder.function

    def native(self, features: Features) -> Tensor:
        logits: Tensor = self.decoder.function(features.maps)
        return logits


@named_choices
def fpn(
    classes: Classes,
    *,
    align: Align = "ifa",
    backbone: str = "resnet50",
    pretrained: bool | str = False,
    in_channels: int = 3,
    width: int = 256,
    hidden: Sequence[int] = (512, 256, 256),
    aspp: int = 0,
    pathway: Pathway | Fuse = "none",
    blend: Resample = "nearest",
    encoding: Encoding = "learned",
    dims: int = 24,
    frequencies: Frequencies = "published",
    octaves: float = 6.0,
    auxiliary: bool = True,
    align_corners: bool = False,
    ceil_pool: bool = False,
    multi_grid: Sequence[int] | None = None,
    extra_stride: int = 1,
) -> FPN:
    """Build :class:`FPN`.

    Args:
        classes: what it tells apart.
        align: ``ifa``; or another row of IFA Table 1, the same decoder without position code: ``bilinear`` /
            ``nearest``, or behind a ``deconvolution``, an ``upsampling`` module or ``carafe`` per level.
        backbone, pretrained, in_channels, ceil_pool, multi_grid, extra_stride: see
            :class:`~featalign.backbones.Pyramid`.
        width, aspp: see :class:`Laterals`. The papers' ResNet-18 models have width 64.
        pathway: a top-down pathway before the function, with this fuse at every step, one of
            :data:`~featalign.align.fuses.FUSES` or a factory of your own (such a model cannot be stored), and a 3x3
            convolution on every level (FaPN, Fig. 3); ``none`` as in IFA's paper, which has no pathway (Fig. 2).
        hidden, encoding, dims, frequencies, octaves: see :class:`~featalign.align.ImplicitFunction`.
        blend: how ``ifa`` takes its latent codes, ``nearest`` as published or ``bilinear`` without seams.
        auxiliary: whether there is a head at the third stage for training.
        align_corners: how the ``resized`` mode resizes; True is what the published evaluation does.

    Raises:
        ConfigError: for an unknown name, or a width that a fuse cannot divide.
    """
    check_count(width=width)
    check_count(aspp=aspp, least=0)
    pyramid = Pyramid(
        backbone,
        in_channels=in_channels,
        pretrained=pretrained,
        ceil_pool=ceil_pool,
        multi_grid=multi_grid,
        extra_stride=extra_stride,
    )
    function = ImplicitFunction(
        [width] * len(pyramid.channels),
        len(classes),
        hidden=hidden,
        encoding=encoding if align == "ifa" else "none",
        dims=dims,
        frequencies=frequencies,
        octaves=octaves,
        resample=_resampling(align, blend),
    )
    decoder = ImplicitDecoder(
        _laterals(pathway, pyramid.channels, width, aspp=aspp),
        function,
        resamplers=_resamplers(align, width, [stride // pyramid.strides[0] for stride in pyramid.strides[1:]]),
    )
    return FPN(
        classes,
        backbone=pyramid,
        decoder=decoder,
        auxiliary=AuxiliaryHead(pyramid.channels[2], len(classes)) if auxiliary else None,
        align_corners=align_corners,
    )


def _laterals(pathway: Pathway | Fuse, channels: Sequence[int], width: int, *, aspp: int) -> nn.Module:
    """What brings the backbone's maps to ``width`` channels, each on its own grid; behind a pathway, a 3x3 convolution,
    norm and ReLU each."""
    if pathway == "none":
        return Laterals(channels, width, aspp=aspp)
    top = partial(ASPP, inner=aspp) if aspp else partial(conv_norm, bias=True)
    return TopDown(channels, width, fuse_factory(pathway), top=top, smooth=partial(conv_norm_relu, kernel=3))


def _resampling(align: Align, blend: Resample) -> Resample:
    """How the function takes its latent codes; on equal grids both ways are the same."""
    if align == "ifa":
        return blend
    return "bilinear" if align == "bilinear" else "nearest"


def _resamplers(align: Align, width: int, scales: Sequence[int]) -> list[nn.Module]:
    """What brings each coarser level, with a pitch so many times the finest's, to the finest grid (IFA Table 1)."""
    if align == "deconvolution":
        return [Deconvolution(width, scale=scale) for scale in scales]
    if align == "upsampling":
        return [UpsamplingModule(width, convolutions=round(math.log2(scale))) for scale in scales]
    return [Carafe(width, scale=scale) for scale in scales] if align == "carafe" else []
