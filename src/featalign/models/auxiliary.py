"""The head that deep supervision adds in training."""

from __future__ import annotations

from torch import nn

from featalign.layers import BatchNorm2d


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
