"""Semantic FPN: a top-down pathway with any fuse, and the head that brings its levels together (Panoptic Feature
Pyramid Networks, CVPR 2019, section 3.1, Fig. 3).

C5 ──1x1 or context──▶ P5 ──▶ (3x3, norm, ReLU, x2) three times ─┐
C4 ──────────▶ fuse ──▶ P4 ──▶ (3x3, norm, ReLU, x2) twice ──────┤
C3 ──────────▶ fuse ──▶ P3 ──▶ 3x3, norm, ReLU, x2 ──────────────┼─ + ──1x1──▶ K logits at stride 4
C2 ──────────▶ fuse ──▶ P2 ──▶ 3x3, norm, ReLU ──────────────────┘
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from featalign.align.fapn import Norm, conv_norm
from featalign.align.fuses import Fuse, FuseName, fuse_factory
from featalign.align.pathways import Build, TopDown
from featalign.backbones import Pyramid
from featalign.context.contexts import ContextName, context_factory
from featalign.errors import check_count
from featalign.layers import Conv2d
from featalign.models.choices import named_choices
from featalign.models.encoder_decoder import EncoderDecoder
from featalign.models.pointrend import PointRefined
from featalign.spec import Classes

Context = Literal["none", ContextName]
_project = partial(conv_norm, bias=True)


class SemanticHead(nn.Module):
    """Levels (B, width, h_i, w_i), finest first, to logits (B, K, h_0, w_0).

    What has climbed to the finest grid is summed.

    Args:
        levels: how many.
        width: channels of each.
        classes: K.
        inner: channels of the climb; 128 in the paper.
        norm: ``GN`` (32 groups) as in the paper, or ``BN``. With 32 channels a group is one value on a map of one cell,
            of which only its bias is left: take 64 or more where images may be that small.
    """

    def __init__(self, levels: int, width: int, classes: int, *, inner: int = 128, norm: Norm = "GN") -> None:
        super().__init__()
        self.climbs = nn.ModuleList(Climb(width, inner, max(1, steps), norm=norm) for steps in range(levels))
        self.classify = Conv2d(inner, classes, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        return self.classify(climbed(self.climbs, levels))


def climbed(climbs: nn.ModuleList, levels: Sequence[Tensor]) -> Tensor:
    """Levels, finest first, each by its :class:`Climb` on the finest grid, summed: (B, inner, h_0, w_0)."""
    sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
    paths = [sizes[:1], *(sizes[i - 1 :: -1] for i in range(1, len(sizes)))]
    arrived = [climb(level, path) for climb, level, path in zip(climbs, levels, paths, strict=True)]
    return sum(arrived[1:], start=arrived[0])


class Climb(nn.ModuleList):
    """A level on its way to the finest grid: 3x3, norm, ReLU, bilinear to the next finer grid; so many steps.

    (B, width, h, w) and the sizes on the way, to (B, inner, *last size). The finest level takes one step on the spot.
    """

    def __init__(self, width: int, inner: int, steps: int, *, norm: Norm) -> None:
        super().__init__(_stage(inner if step else width, inner, norm) for step in range(steps))

    def forward(self, level: Tensor, path: Sequence[tuple[int, int]]) -> Tensor:
        for stage, size in zip(self, path, strict=True):
            level = F.interpolate(stage(level), size=size, mode="bilinear")
        return level


@named_choices
def semantic_fpn(
    classes: Classes,
    *,
    align: FuseName | Fuse = "nearest",
    context: Context = "none",
    backbone: str = "resnet50",
    pretrained: bool | str = False,
    in_channels: int = 3,
    width: int = 256,
    head_width: int = 128,
    norm: Norm = "GN",
    extra_convolutions: int = 0,
    point_head: bool = False,
    auxiliary: bool = False,
    align_corners: bool = False,
) -> EncoderDecoder:
    """Build Semantic FPN; see the figure above.

    Args:
        classes: what it tells apart.
        align: the fuse of every step, one of :data:`~featalign.align.fuses.FUSES`, or a factory of your own
            ``(fine_channels, width) -> nn.Module``; a model with one of those cannot be stored.
        context: what looks far on the coarsest map in place of a 1x1 convolution.
        backbone, pretrained, in_channels: see :class:`~featalign.backbones.Pyramid`.
        width: channels of every level.
        head_width, norm: see :class:`SemanticHead`.
        extra_convolutions: further 3x3 convolutions on every level; two make the parameters of FaPN's Table 1, second
            row.
        point_head: whether PointRend answers at points, see :mod:`featalign.models.pointrend`.
        auxiliary: whether there is a head at the third stage for training; the paper has none.
        align_corners: how the logits are resized.

    Raises:
        ConfigError: for an unknown name, or a width that a fuse cannot divide.
    """
    check_count(width=width, head_width=head_width)
    check_count(extra_convolutions=extra_convolutions, least=0)
    pyramid = Pyramid(backbone, in_channels=in_channels, pretrained=pretrained)
    pathway, head = semantic_decoder(
        pyramid.channels,
        len(classes),
        fuse=fuse_factory(align),
        top=_project if context == "none" else context_factory(context),
        width=width,
        head_width=head_width,
        norm=norm,
        convolutions=1 + extra_convolutions,
    )
    return assemble(
        classes,
        pyramid,
        pathway,
        head,
        point_head=width if point_head else None,
        auxiliary=auxiliary,
        align_corners=align_corners,
    )


def assemble(
    classes: Classes,
    backbone: Pyramid,
    pathway: nn.Module,
    head: nn.Module,
    *,
    point_head: int | None,
    auxiliary: bool,
    align_corners: bool,
) -> EncoderDecoder:
    """The network of these parts; ``point_head``: the channels that PointRend's head reads, None for no such head."""
    if point_head is not None:
        return PointRefined(
            classes,
            backbone=backbone,
            pathway=pathway,
            head=head,
            width=point_head,
            auxiliary=auxiliary,
            align_corners=align_corners,
        )
    decoder = nn.Sequential(pathway, head)
    return EncoderDecoder(classes, backbone=backbone, decoder=decoder, auxiliary=auxiliary, align_corners=align_corners)


def semantic_decoder(
    channels: Sequence[int],
    classes: int,
    *,
    fuse: Fuse,
    width: int,
    head_width: int,
    norm: Norm,
    top: Build = _project,
    smooth_top: bool = True,
    convolutions: int = 1,
) -> tuple[TopDown, SemanticHead]:
    """The pathway with its 3x3 ``convolutions`` on each level, and the head: maps of ``channels``, finest first, to
    logits.

    ``fuse``, ``top`` and ``smooth_top`` are of :class:`~featalign.align.pathways.TopDown`, ``head_width`` and ``norm``
    of :class:`SemanticHead`.
    """
    pathway = TopDown(
        channels, width, fuse, top=top, smooth=partial(_smooth, convolutions=convolutions), smooth_top=smooth_top
    )
    return pathway, SemanticHead(len(channels), width, classes, inner=head_width, norm=norm)


def _smooth(in_channels: int, out_channels: int, *, convolutions: int) -> nn.Sequential:
    """FPN's 3x3 convolution on a level; further ones follow a ReLU each."""
    layers = conv_norm(in_channels, out_channels, 3, bias=True)
    for _ in range(convolutions - 1):
        layers.extend([nn.ReLU(inplace=True), *conv_norm(out_channels, out_channels, 3, bias=True)])
    return layers


def _stage(in_channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(*conv_norm(in_channels, out_channels, 3, norm=norm), nn.ReLU(inplace=True))
