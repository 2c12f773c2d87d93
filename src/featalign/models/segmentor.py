"""The calls that every segmentation network here answers: encode once, then decode at any size or query any point."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, NamedTuple, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from featalign.errors import did_you_mean
from featalign.layers import BatchNorm2d
from featalign.spec import Classes, Normalization

Mode = Literal["auto", "dense", "resized"]


class Features(NamedTuple):
    """What :meth:`Segmentor.encode` returns.

    ``maps``: (B, C_i, h_i, w_i), finest first; ``strides``: their pitch in input pixels; ``size``: (height, width) of
    the input;
    ``deep``: the backbone map that the auxiliary head reads, kept in training only.
    """

    maps: list[Tensor]
    strides: tuple[int, ...]
    size: tuple[int, int]
    deep: Tensor | None = None


class Segmentor(nn.Module):
    """Base of the networks.

    Images are float (B, in_channels, H, W), normalized with :attr:`normalization`, of any size from one pixel up.

    Attributes:
        config: the keyword arguments of ``create_model`` that build this network again.
        classes: names and colours of the K classes.
        strides: pitch of the maps that :meth:`encode` gives, in input pixels.
        auto_mode: what ``mode="auto"`` means for this network.
    """

    config: dict[str, Any]
    auxiliary: AuxiliaryHead | None

    def __init__(
        self,
        classes: Classes,
        *,
        in_channels: int,
        strides: tuple[int, ...],
        auto_mode: Mode,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.strides = strides
        self.classes = classes
        self.in_channels = in_channels
        self.normalization = Normalization.for_channels(in_channels)
        self.auto_mode = auto_mode
        self.align_corners = align_corners
        self.config = {}

    @abstractmethod
    def encode(self, images: Tensor) -> Features:
        """Everything that does not depend on where the answer is wanted."""

    @abstractmethod
    def answer_grid(self, features: Features, size: tuple[int, int] | None) -> Tensor:
        """Logits ``(B, K, *size)`` at the pixel centres of a grid, or of the finest map's own grid for None."""

    @abstractmethod
    def query(self, features: Features, points: Tensor) -> Tensor:
        """Logits (B, K, …) at ``points`` (B or 1, …, 2), (x, y) in [0, 1] over the image."""

    def decode(self, features: Features, size: tuple[int, int] | None = None, mode: Mode = "auto") -> Tensor:
        """Logits ``(B, K, *size)`` on any output grid.

        Args:
            features: from :meth:`encode`.
            size: (height, width); default the input's.
            mode: ``dense`` asks the network at every output pixel, ``resized`` resizes the answer on the finest map's
                grid bilinearly, ``auto`` is the better of the two for this network (see docs/resolution.md).

        Raises:
            ValueError: for an unknown mode or a size below 1.
        """
        height, width = size or features.size
        if min(height, width) < 1:
            raise ValueError(f"size must be at least (1, 1), got {(height, width)}")
        mode = self.auto_mode if mode == "auto" else mode
        if mode == "dense":
            return self.answer_grid(features, (height, width))
        if mode == "resized":
            logits = self.answer_grid(features, None)
            return F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=self.align_corners)
        raise ValueError(f'unknown mode "{mode}": {did_you_mean(mode, get_args(Mode))}')

    def forward(self, images: Tensor, size: tuple[int, int] | None = None, mode: Mode = "auto") -> Tensor:
        """Images (B, in_channels, H, W) to logits ``(B, K, *size)``, at the input's size unless asked otherwise."""
        return self.decode(self.encode(images), size, mode)

    def auxiliary_logits(self, features: Features) -> Tensor | None:
        """Logits (B, K, h, w) of the auxiliary head on its own map, or None where there is no head or no training."""
        if self.auxiliary is None or features.deep is None:
            return None
        return self.auxiliary(features.deep)

    def check_images(self, images: Tensor) -> None:
        """Refuse what no layer could explain. Raises ValueError."""
        if images.ndim != 4 or images.shape[1] != self.in_channels or not images.is_floating_point():
            raise ValueError(
                f"expected normalized float images (B, {self.in_channels}, H, W), "
                f"got {str(images.dtype).removeprefix('torch.')} of shape {tuple(images.shape)}"
            )


class AuxiliaryHead(nn.Sequential):
    """Deep supervision of training: a small head on the backbone's third stage (stride 16).

    (B, in_channels, h, w) to (B, K, h, w): 3x3 to ``width``, norm, ReLU, dropout, 1x1.
    """

    def __init__(self, in_channels: int, classes: int, *, width: int = 256, dropout: float = 0.1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, width, 3, padding=1),
            BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            nn.Conv2d(width, classes, 1),
        )
