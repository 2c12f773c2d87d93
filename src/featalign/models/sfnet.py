"""SFNet: a top-down pathway whose steps follow a learned flow (ECCV 2020, Fig. 3). The published fast network has a
ResNet-18.

image ──▶ backbone ──▶ C2, C3, C4, C5 ──▶ SFNetHead (figure in featalign/align/sfnet.py) ──▶ K logits at stride 4
                                C4 ──▶ auxiliary head (training)
"""

from __future__ import annotations

from featalign.align.fuses import Fuse, FuseName, fuse_factory
from featalign.align.sfnet import SFNetHead
from featalign.backbones import Pyramid
from featalign.context.psp import PyramidPooling
from featalign.errors import check_count
from featalign.models.choices import named_choices
from featalign.models.encoder_decoder import EncoderDecoder
from featalign.spec import Classes


@named_choices
def sfnet(
    classes: Classes,
    *,
    align: FuseName | Fuse = "sfnet",
    backbone: str = "resnet18",
    pretrained: bool | str = False,
    in_channels: int = 3,
    width: int = 128,
    auxiliary: bool = True,
    align_corners: bool = True,
) -> EncoderDecoder:
    """Build SFNet; see the figure above.

    Args:
        classes: what it tells apart.
        align: the fuse of every step: ``sfnet``, ``sfnet_v2`` (gated), any other of
            :data:`~featalign.align.fuses.FUSES`, or a factory of your own; a model with one of those cannot be stored.
        backbone, pretrained, in_channels: see :class:`~featalign.backbones.Pyramid`. The published network has the deep
            stem, ``resnet18s``.
        width: channels of every level; 128 is published for ResNet-18, 256 for deeper networks.
        auxiliary: whether there is a head at the third stage for training. The published code has one on every fused
            level instead, see :class:`~featalign.align.sfnet.SFNetHead`.
        align_corners: how the logits are resized; True is what the published code does everywhere.

    Raises:
        ConfigError: for an unknown name, or a width that a fuse cannot divide.
    """
    check_count(width=width)
    pyramid = Pyramid(backbone, in_channels=in_channels, pretrained=pretrained)
    context = PyramidPooling(pyramid.channels[-1], width, inner=width, kernel=1, activation=False, align_corners=True)
    head = SFNetHead(pyramid.channels, len(classes), context=context, width=width, fuse=fuse_factory(align))
    return EncoderDecoder(classes, backbone=pyramid, decoder=head, auxiliary=auxiliary, align_corners=align_corners)
