"""CARAFE: upsampling by kernels that are predicted from the content (ICCV 2019, section 3.2).

x (B, C, h, w) ──1x1──▶ compressed ──3x3──▶ (s * k)^2 ──pixel shuffle──▶ k^2 at (s * h, s * w) ──softmax──┐
             └─────────────────────────── k x k neighbourhood ────────────────────────────────── weighted sum ─▶
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from featalign.align.resample import AddFuse, fit
from featalign.errors import ConfigError
from featalign.layers import Conv2d
from featalign.ops.carafe import carafe


class Carafe(nn.Module):
    """A resampler: (B, width, h, w) enlarged ``scale`` times and brought to the exact size by
    :func:`~featalign.align.resample.fit`.

    Args:
        width: channels of the map, kept.
        scale: 2, 4, 8 for stride 8, 16, 32 to stride 4 in IFA Table 1.
        compressed: channels from which the kernels are predicted.
        kernel: side of the neighbourhood that is summed; odd.
        encoder: side of the convolution that predicts; odd.

    Raises:
        ConfigError: for an even side.
    """

    def __init__(self, width: int, *, scale: int = 2, compressed: int = 64, kernel: int = 5, encoder: int = 3) -> None:
        super().__init__()
        if kernel % 2 == 0 or encoder % 2 == 0:
            raise ConfigError(f"kernel and encoder must be odd, got {kernel} and {encoder}")
        self.scale = scale
        self.kernel = kernel
        self.compress = Conv2d(width, compressed, 1)
        self.encode = nn.Conv2d(compressed, (scale * kernel) ** 2, encoder, padding=encoder // 2)
        nn.init.xavier_uniform_(self.compress.weight)
        nn.init.normal_(self.encode.weight, std=0.001)  # the kernels start as near averages

    def kernels(self, x: Tensor) -> Tensor:
        """The predicted kernels, each summing to 1: (B, kernel^2, scale * h, scale * w)."""
        return F.pixel_shuffle(self.encode(self.compress(x)), self.scale).softmax(1)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        enlarged = carafe(x, self.kernels(x), kernel_size=self.kernel, scale=self.scale)
        return fit(enlarged, size, scale=self.scale)


def carafe_add(fine_channels: int, width: int) -> AddFuse:
    """FPN's fuse with CARAFE at scale 2."""
    return AddFuse(fine_channels, width, resample=Carafe(width))
