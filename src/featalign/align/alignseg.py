"""AlignFA: two maps of different pitch are both moved by learned offsets, then added (AlignSeg, section 3.2, Fig. 2b).

    coarse (B, C, h, w) ─ bilinear to (H, W) ─┬─────────────────▶ U(·, offset) ─┐
                                              ├─ predict offsets                + ─▶ (B, C, H, W)
    fine   (B, C, H, W) ──────────────────────┴─────────────────▶ U(·, offset) ─┘

Normalization and activation are batch norm and leaky ReLU where the published code fuses the two in place.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.errors import ConfigError, did_you_mean
from featalign.layers import BatchNorm2d, Conv2d, OffsetConv2d
from featalign.ops.warp import Sampling, check_sampling, warp

Directions = Literal["both", "coarse", "fine", "none"]


class AlignFA(nn.Module):
    """``forward(coarse (B, C, h, w), fine (B, C, H, W)) -> (B, C, H, W)``, Eq. 1.

    The coarse map is first brought to the fine grid bilinearly, corners on corners (``align_corners=True``). Starts as
    the plain sum: the offset predictors begin at zero.

    Args:
        channels: C, of both maps.
        directions: which maps are moved: ``both``; ``fine`` alone, "low to high" in Table 3; ``coarse`` alone, "high to
            low" there; ``none``, the plain sum on the regular grid of Table 2 (RGS).
        sampling: convention of the offsets, see :func:`~featalign.ops.warp.warp`; other than ``corrected`` only for
            checkpoints that were trained so.

    Raises:
        ConfigError: for an unknown name.
    """

    def __init__(self, channels: int, *, directions: Directions = "both", sampling: Sampling = "corrected") -> None:
        super().__init__()
        if directions not in get_args(Directions):
            raise ConfigError(f'unknown directions "{directions}": {did_you_mean(directions, get_args(Directions))}')
        check_sampling(sampling)
        self.sampling = sampling
        self.coarse_offset = OffsetPredictor(channels) if directions in ("both", "coarse") else None
        self.fine_offset = OffsetPredictor(channels) if directions in ("both", "fine") else None

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=True)
        if self.coarse_offset is None and self.fine_offset is None:
            return coarse + fine
        pair = torch.cat((fine, coarse), 1)
        return self._move(coarse, pair, self.coarse_offset) + self._move(fine, pair, self.fine_offset)

    def _move(self, x: Tensor, pair: Tensor, predict: OffsetPredictor | None) -> Tensor:
        return x if predict is None else warp(x, predict(pair), sampling=self.sampling)


class AlignFAFuse(nn.Module):
    """AlignFA as a fuse: ``forward(coarse (B, width, h, w), fine (B, fine_channels, H, W)) -> (B, width, H, W)``.

    The fine map enters through a residual convolution block, as in section 3.1; the coarse one comes as it is.

    Args:
        fine_channels: of the backbone map.
        width: of the fused maps; a multiple of 4.
        directions, sampling: see :class:`AlignFA`.
    """

    def __init__(
        self,
        fine_channels: int,
        width: int,
        *,
        directions: Directions = "both",
        sampling: Sampling = "corrected",
    ) -> None:
        super().__init__()
        self.lateral = ResidualConvBlock(fine_channels, width)
        self.align = AlignFA(width, directions=directions, sampling=sampling)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return self.align(coarse, self.lateral(fine))


class ResidualConvBlock(nn.Module):
    """(B, in_channels, h, w) to (B, channels, h, w) (section 3.1, Fig. 2a).

    1x1 to ``channels``, to which a 3x3 to a quarter of them, norm, leaky ReLU and a 3x3 back are added; then norm and
    leaky ReLU.

    Raises:
        ConfigError: if ``channels`` is not a positive multiple of 4.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        if channels < 4 or channels % 4:
            raise ConfigError(f"width must be a positive multiple of 4 in a residual convolution block, got {channels}")
        inner = channels // 4
        self.unify = Conv2d(in_channels, channels, 1, bias=False)
        self.residual = nn.Sequential(
            nn.Conv2d(channels, inner, 3, padding=1, bias=False),
            *norm_leaky(inner),
            nn.Conv2d(inner, channels, 3, padding=1, bias=False),
        )
        self.norm = norm_leaky(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.unify(x)
        return self.norm(x + self.residual(x))


class OffsetPredictor(nn.Sequential):
    """Two maps side by side (B, 2 * channels, h, w) to an offset per cell (B, 2, h, w), (x, y), zero to begin with."""

    def __init__(self, channels: int) -> None:
        offset = OffsetConv2d(channels, 2, 3, padding=1, bias=False)
        nn.init.zeros_(offset.weight)
        super().__init__(Conv2d(2 * channels, channels, 1, bias=False), *norm_leaky(channels), offset)


def norm_leaky(channels: int) -> nn.Sequential:
    """Batch normalization and leaky ReLU with slope 0.01."""
    return nn.Sequential(BatchNorm2d(channels), nn.LeakyReLU(0.01, inplace=True))
