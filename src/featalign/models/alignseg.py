"""AlignSeg: two bottom-up pathways, aligned where they meet (AlignSeg, section 3.1, Fig. 2).

image ─▶ stem, stage 1 ─▶ stage 2 ─────▶ stage 3 ─────▶ stage 4 ─────▶ AlignCM       first pathway
stride 4     │         8     │       16     │       32     │       32     │
            RCB             RCB            RCB            RCB            RCB         to ``width`` channels, same grids
             └───────────▶ AlignFA ─RCB─▶ AlignFA ─RCB─▶ AlignFA ─RCB─▶ AlignFA ─RCB─▶ head ─▶ K logits
stride 4     4               4              4    │         4              4            second pathway
                                                 └─▶ deep supervision head (training)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn

from featalign.align.alignseg import AlignFA, Directions, ResidualConvBlock
from featalign.align.fuses import Fuse, FuseName, fuse_factory
from featalign.align.pathways import BottomUp
from featalign.backbones import Pyramid
from featalign.context.aligncm import AlignCM, Merge
from featalign.context.aspp import ASPP
from featalign.context.psp import PyramidPooling
from featalign.context.rcca import RCCA
from featalign.errors import check_count
from featalign.models.auxiliary import AuxiliaryHead
from featalign.models.choices import named_choices
from featalign.models.network import Features
from featalign.models.segmentor import Segmentor
from featalign.ops.warp import Sampling
from featalign.spec import Classes

Context = Literal["aligncm", "aspp", "psp", "rcca", "none"]
_SUPERVISED = 2  # the second pathway's map that deep supervision reads: the one that stage 3 has joined


class LogitHead(AuxiliaryHead):
    """(B, in_channels, h, w) to logits (B, K, h, w): 3x3, norm, leaky ReLU, dropout, 1x1."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__(in_channels, classes, width=in_channels)
        self[2] = nn.LeakyReLU(0.01, inplace=True)


class AlignSeg(Segmentor):
    """See the figure above; options as in :func:`alignseg`.

    Args:
        context: what looks far on the coarsest map, as one more map of ``context_channels`` channels on the same grid;
            None for pathways of one block less.
        fuse: makes each junction of the second pathway, as ``fuse(width, width)``.

    The answer lives on the stride-4 grid. Other grids and points get it by bilinear interpolation of the logits; a
    point reads between cell centres (``align_corners=False``), the outermost logits reach to the border.
    """

    def __init__(
        self,
        classes: Classes,
        *,
        backbone: Pyramid,
        context: nn.Module | None,
        context_channels: int,
        width: int,
        fuse: Fuse,
        auxiliary: bool = True,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            classes,
            in_channels=backbone.in_channels,
            strides=backbone.strides[:1],
            coarsest=max(backbone.strides),
            auto_mode="resized",
            align_corners=align_corners,
        )
        channels = [*backbone.channels, *([context_channels] if context is not None else [])]
        self.backbone = backbone
        self.context = context
        self.pathway = BottomUp(channels, width, fuse, enter=ResidualConvBlock, refine=ResidualConvBlock)
        self.head = LogitHead(width, len(classes))
        self.auxiliary = LogitHead(width, len(classes)) if auxiliary else None

    def maps(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        maps = self.backbone(images)
        if self.context is not None:
            maps.append(self.context(maps[-1]))
        passed = self.pathway(maps)
        return passed[-1:], passed[_SUPERVISED]

    def native(self, features: Features) -> Tensor:
        logits: Tensor = self.head(features.maps[0])
        return logits


@named_choices
def alignseg(
    classes: Classes,
    *,
    backbone: str = "resnet50",
    pretrained: bool | str = False,
    in_channels: int = 3,
    width: int = 256,
    align: FuseName | Fuse = "alignfa",
    sampling: Sampling = "corrected",
    context: Context = "aligncm",
    bins: int = 3,
    align_context: bool = True,
    merge: Merge = "sum",
    auxiliary: bool = True,
    align_corners: bool = False,
    ceil_pool: bool = False,
) -> AlignSeg:
    """Build :class:`AlignSeg`.

    Args:
        classes: what it tells apart.
        backbone, pretrained, in_channels, ceil_pool: see :class:`~featalign.backbones.Pyramid`. The published network
            is ``resnet101s`` (deep stem) with ``ceil_pool``.
        width: channels of the second pathway and of the context; a multiple of 4.
        align: what joins two maps of the second pathway: ``alignfa``; ``alignfa_coarse`` and ``alignfa_fine``, one of
            its directions (Table 3); ``alignfa_none``, neither (Table 2, RGS); or any other fuse, such as ``bilinear``.
        sampling: convention of AlignFA's and AlignCM's offsets, see :func:`~featalign.ops.warp.warp`.
        context: ``aligncm`` or one of those that Table 5 compares it with: ``aspp``, ``psp``, ``rcca``; ``none`` is
            the baseline there, with pathways of one block less.
        bins, align_context, merge: see :class:`~featalign.context.aligncm.AlignCM`; used by ``aligncm`` only.
        auxiliary: whether there is a deep supervision head for training (Table 6, DS).
        align_corners: how logits are resized; True is what the published evaluation does.
    """
    check_count(width=width, bins=bins)
    pyramid = Pyramid(backbone, in_channels=in_channels, pretrained=pretrained, ceil_pool=ceil_pool)
    contexts: dict[str, Callable[[int, int], nn.Module]] = {
        "aligncm": partial(AlignCM, bins=bins, aligned=align_context, merge=merge, sampling=sampling),
        "aspp": ASPP,
        "psp": PyramidPooling,
        "rcca": RCCA,
    }
    built = contexts[context](pyramid.channels[-1], width) if context != "none" else None
    return AlignSeg(
        classes,
        backbone=pyramid,
        context=built,
        context_channels=built.out_channels if isinstance(built, AlignCM) else width,
        width=width,
        fuse=_fuse(align, sampling),
        auxiliary=auxiliary,
        align_corners=align_corners,
    )


def _fuse(align: FuseName | Fuse, sampling: Sampling) -> Fuse:
    """AlignFA bare, since both maps have passed a residual block already; any other fuse as it is."""
    directions: dict[object, Directions] = {
        "alignfa": "both",
        "alignfa_coarse": "coarse",
        "alignfa_fine": "fine",
        "alignfa_none": "none",
    }
    if align not in directions:
        return fuse_factory(align)
    return lambda _fine_channels, width: AlignFA(width, directions=directions[align], sampling=sampling)
