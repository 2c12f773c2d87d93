"""Networks of segmentation_models.pytorch behind this library's calls: trained, scored and timed as all others.

    import peers; peers.add()     # then create_model("smp_fpn", backbone="resnet18", classes=11), recipes too

Encoder (timm's, as ours), decoder and head are theirs, untouched, with their default widths. Their own forward pass
ends with the head's enlargement between aligned corners; here the stride-4 logits are taken before it, and enlarged
alike when an answer is asked for (``align_corners=True``).
"""

from __future__ import annotations

from collections.abc import Callable

import segmentation_models_pytorch as smp
from safetensors.torch import load_file
from torch import Tensor, nn

from featalign.models import Features, Segmentor, add_network
from featalign.spec import Classes

NETWORKS = {
    "smp_fpn": smp.FPN,
    "smp_deeplabv3plus": smp.DeepLabV3Plus,
    "smp_upernet": smp.UPerNet,
    "smp_segformer": smp.Segformer,
}
STRIDE, COARSEST = 4, 32


class Peer(Segmentor):
    """A network of segmentation_models.pytorch whose head enlarges 4 times.

    Images are filled up to multiples of 32, which is all that these networks take.
    """

    auxiliary = None

    def __init__(self, classes: Classes, *, network: nn.Module, in_channels: int) -> None:
        super().__init__(classes, in_channels=in_channels, strides=(STRIDE,), auto_mode="resized", align_corners=True)
        self.fill = COARSEST
        self.backbone, self.decoder, self.head = network.encoder, network.decoder, network.segmentation_head[0]

    def maps(self, images: Tensor) -> tuple[list[Tensor], None]:
        return [self.decoder(self.backbone(images))], None

    def native(self, features: Features) -> Tensor:
        logits: Tensor = self.head(features.maps[0])
        return logits


def builder(network: Callable[..., nn.Module]) -> Callable[..., Peer]:
    """The builder of one network, as ``create_model`` calls it."""

    def build(
        classes: Classes, *, backbone: str = "resnet18", pretrained: bool | str = False, in_channels: int = 3
    ) -> Peer:
        weights = "imagenet" if pretrained is True else None
        built = network(f"tu-{backbone}", encoder_weights=weights, in_channels=in_channels, classes=len(classes))
        if isinstance(pretrained, str):
            missing, _ = built.encoder.model.load_state_dict(load_file(pretrained), strict=False)
            assert not missing, f"{pretrained} lacks {missing}"
        return Peer(classes, network=built, in_channels=in_channels)

    return build


def add() -> None:
    """Make them known to create_model and to recipes."""
    for name, network in NETWORKS.items():
        add_network(name, builder(network))
