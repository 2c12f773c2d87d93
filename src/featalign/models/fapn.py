"""FaPN for semantic segmentation (ICCV 2021, section 4), and its real-time form (supplement B).

FaPN:                                         real-time:
C5 ──1x1──▶ P5 ──────────────┐                C5 ──FSM──▶ P5 (stride 32)
C4 ──▶ FSM + FAM ──▶ P4 ──3x3┤ Semantic       C4 ──▶ FSM + FAM, concatenate, 1x1 ──▶ P4 (16)
C3 ──▶ FSM + FAM ──▶ P3 ──3x3┤ FPN's head,    C3 ──▶ FSM + FAM, concatenate, 1x1 ──▶ P3 (8)
C2 ──▶ FSM + FAM ──▶ P2 ──3x3┘ stride 4       P3 ──3x3, norm, ReLU──1x1──▶ K logits (8)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from torch import Tensor, nn

from featalign.align.fapn import FaPNFuse, FeatureSelection, Join, Norm, conv_norm
from featalign.align.fuses import FaPNName, Fuse, fuse_factory
from featalign.align.pathways import TopDown
from featalign.align.resample import nearest_add
from featalign.backbones import Pyramid
from featalign.errors import check_count
from featalign.layers import conv_norm_relu
from featalign.models.choices import named_choices
from featalign.models.encoder_decoder import EncoderDecoder
from featalign.models.semantic_fpn import assemble, semantic_decoder
from featalign.spec import Classes

RealtimeAlign = Literal["fapn", "fapn_no_fsm", "nearest"]


@named_choices
def fapn(
    classes: Classes,
    *,
    align: FaPNName = "fapn",
    backbone: str = "resnet50",
    pretrained: bool | str = False,
    in_channels: int = 3,
    width: int = 256,
    head_width: int = 128,
    norm: Norm = "GN",
    point_head: bool = False,
    auxiliary: bool = False,
    align_corners: bool = False,
) -> EncoderDecoder:
    """Build FaPN with Semantic FPN's head; see the left figure above.

    The published numbers have PointRend on top, which refines this head's answer: ``point_head``.

    Args:
        align: FaPN, or a variant of its Table 1: ``fapn_no_fsm`` (FPN + FAM), ``fapn_se``, ``fapn_after`` (FAM† + FSM),
            ``fapn_deconvolution``; or ``fapn_none``, all of FaPN but its offsets, to measure what those bring. Other
            fuses in the same place make ``semantic_fpn``.
        classes, backbone, pretrained, in_channels, width, head_width, norm, point_head, auxiliary, align_corners: see
            :func:`~featalign.models.semantic_fpn.semantic_fpn`.

    Raises:
        ConfigError: for an unknown name, or a width that 8 does not divide.
    """
    check_count(width=width, head_width=head_width)
    pyramid = Pyramid(backbone, in_channels=in_channels, pretrained=pretrained)
    pathway, head = semantic_decoder(
        pyramid.channels,
        len(classes),
        fuse=fuse_factory(align),
        width=width,
        head_width=head_width,
        norm=norm,
        smooth_top=False,
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


@named_choices
def fapn_realtime(
    classes: Classes,
    *,
    align: RealtimeAlign = "fapn",
    join: Join = "concat",
    backbone: str = "resnet18",
    pretrained: bool | str = False,
    in_channels: int = 3,
    width: int = 128,
    head_width: int = 64,
    auxiliary: bool = False,
    align_corners: bool = False,
) -> EncoderDecoder:
    """Build real-time FaPN; see the right figure above. Maps are enlarged to the nearest cell before they are aligned.

    Args:
        align: ``fapn``, or the rows above it in the supplement's Table I: ``fapn_no_fsm`` (FPN + FAM), ``nearest``
            (FPN).
        join: ``concat``, or ``add`` (Table I, third row); ``nearest`` always adds.
        width: channels of every level; a multiple of 8.
        head_width: channels between the two convolutions of the head.
        classes, backbone, pretrained, in_channels, auxiliary, align_corners: see
            :func:`~featalign.models.semantic_fpn.semantic_fpn`.

    Raises:
        ConfigError: for an unknown name, or a width that 8 does not divide.
    """
    check_count(width=width, head_width=head_width)
    pyramid = Pyramid(backbone, in_channels=in_channels, pretrained=pretrained, strides=(8, 16, 32))
    fuses: dict[RealtimeAlign, Fuse] = {
        "fapn": partial(FaPNFuse, join=join, resize="nearest"),
        "fapn_no_fsm": partial(FaPNFuse, selection="none", join=join, resize="nearest"),
        "nearest": nearest_add,
    }
    top: Callable[[int, int], nn.Module] = FeatureSelection if align == "fapn" else partial(conv_norm, bias=True)
    decoder = nn.Sequential(
        TopDown(pyramid.channels, width, fuses[align], top=top), FinestHead(width, len(classes), inner=head_width)
    )
    return EncoderDecoder(classes, backbone=pyramid, decoder=decoder, auxiliary=auxiliary, align_corners=align_corners)


class FinestHead(nn.Sequential):
    """Levels, finest first, to logits of the finest alone: 3x3 to ``inner`` channels, norm, ReLU, 1x1."""

    def __init__(self, width: int, classes: int, *, inner: int) -> None:
        super().__init__(*conv_norm_relu(width, inner, 3), nn.Conv2d(inner, classes, 1))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        return super().forward(levels[0])
