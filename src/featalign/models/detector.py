"""What every detector and panoptic network here is: a network of torchvision's kind that knows its classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from featalign.models.feature_pyramid import FeaturePyramid
from featalign.spec import Classes, Normalization


class Detector(nn.Module):
    """A detector, or a panoptic network, with what its images and its answers mean.

    Attributes:
        network: the module itself, torchvision's or made like one.
        config: the keyword arguments of :func:`~featalign.models.create_detector` that build it again.
        classes: names and colours of the K classes; 0 … K-1 here, 1 … K in what ``network`` says of boxes.
        things: ids of the classes whose objects are told apart; all of them, unless the network is panoptic.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: Classes,
        config: dict[str, Any],
        *,
        in_channels: int,
        things: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.classes = classes
        self.things = tuple(range(len(classes)) if things is None else things)
        self.config = config
        self.in_channels = in_channels

    @property
    def normalization(self) -> Normalization:
        """Of the images, of 8 bits; ``network`` applies it."""
        transform: Any = self.network.get_submodule("transform")
        return Normalization(tuple(transform.image_mean), tuple(transform.image_std))

    @normalization.setter
    def normalization(self, value: Normalization) -> None:
        transform: Any = self.network.get_submodule("transform")
        statistics = normalized(value, self.in_channels)
        transform.image_mean, transform.image_std = statistics["image_mean"], statistics["image_std"]

    @property
    def backbone(self) -> nn.Module:
        """What may learn at a rate of its own, or stay frozen: the network below the pyramid."""
        found = self.network.get_submodule("backbone")
        return found.backbone if isinstance(found, FeaturePyramid) else found

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None) -> Any:
        """In training, losses by name; in evaluation, a dictionary for each image.

        Of detectors: ``boxes``, ``labels``, ``scores`` (, ``masks``) as torchvision has them, with labels from 1. Of
        panoptic networks: ``segments``, int64 (H, W), numbered 1 … S, 0 for void; ``segment_labels``, class ids from 0,
        int64 (S); ``segment_scores``, float32 (S).

        Args:
            images: uint8 (C, H, W) each, of any sizes.
            targets: in training, one for each image, see :func:`featalign.data.objects.detection_target` and
                :func:`~featalign.data.objects.panoptic_target`.

        Raises:
            ValueError: if an image is not such.
        """
        for image in images:
            if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != self.in_channels:
                raise ValueError(
                    f"got an image {image.dtype} {tuple(image.shape)}; expected uint8 ({self.in_channels}, H, W)"
                )
        return self.network([image.as_subclass(Tensor).float() / 255 for image in images], targets)


def normalized(normalization: Normalization, channels: int) -> dict[str, list[float]]:
    """What torchvision subtracts and divides by, one value for each channel."""
    values = {"image_mean": normalization.mean, "image_std": normalization.std}
    return {name: list(value) * (channels if len(value) == 1 else 1) for name, value in values.items()}
