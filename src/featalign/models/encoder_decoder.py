"""Networks whose answer lives on one grid: a pyramid, a decoder from its maps to logits, interpolation for the rest."""

from __future__ import annotations

from torch import Tensor, nn

from featalign.backbones import Pyramid
from featalign.models.auxiliary import AuxiliaryHead
from featalign.models.network import Features
from featalign.models.segmentor import Segmentor
from featalign.spec import Classes


class EncoderDecoder(Segmentor):
    """``logits = decoder(backbone(images))``; other grids and points read these logits bilinearly.

    A point reads between cell centres (``align_corners=False``); the outermost logits reach to the border.

    Args:
        backbone: of two levels at least; its last but one, the third stage, feeds the auxiliary head.
        decoder: a list of maps (B, channels[i], h_i, w_i), finest first, to logits (B, K, h_0, w_0).
        auxiliary: head of the third stage for training, or None.
        align_corners: how the logits are resized.
    """

    def __init__(
        self,
        classes: Classes,
        *,
        backbone: Pyramid,
        decoder: nn.Module,
        auxiliary: bool,
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
        self.backbone = backbone
        self.decoder = decoder
        self.auxiliary = AuxiliaryHead(backbone.channels[-2], len(classes)) if auxiliary else None

    def maps(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """The logits themselves, as the only map: nothing before them depends on where the answer is wanted."""
        maps = self.backbone(images)
        return [self.decoder(maps)], maps[-2]

    def native(self, features: Features) -> Tensor:
        return features.maps[0]
