"""AlignCM: pooled context from which every pixel takes its own part (AlignSeg, section 3.3, Fig. 2c).

x (B, C, h, w) ─┬─ pool to bins x bins ─ 1x1, 3x3 ─ context ─┬───────────────────▶ U(·, offset) ─┐
                │                          bilinear to (h, w) ├─ predict offset                  + ─▶ (B, width, h, w)
                └──────────── 1x1, 3x3 ─ local ──────────────┴───────────────────────────────────┘
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.align.alignseg import OffsetPredictor, norm_leaky
from featalign.context.pooling import PoolToBins
from featalign.errors import ConfigError, did_you_mean
from featalign.layers import Conv2d
from featalign.ops.warp import Sampling, check_sampling, warp

Merge = Literal["sum", "concat"]


class AlignCM(nn.Module):
    """Maps (B, in_channels, h, w) to (B, :attr:`out_channels`, h, w).

    The small context map itself is sampled at every pixel, starting corners on corners; the offset is in (x, y), with
    the units of ``sampling``. Starts as plain upsampling: the offset predictor begins at zero.

    Args:
        in_channels: of the map.
        width: channels of context and local feature.
        bins: the context has ``bins`` x ``bins`` cells: 2, 3 or 6 in Table 4; 3, the best there, by default.
        aligned: False upsamples the context bilinearly instead (Table 4, without alignment).
        merge: ``sum`` is what the published network computes; ``concat`` is Eq. 3 as printed, with twice the channels.
        sampling: convention of the offset, see :func:`~featalign.ops.warp.warp`. Here the published conventions differ
            most: they divide by the context's own size.

    Raises:
        ConfigError: for an unknown name, or too few bins to choose from.
    """

    def __init__(
        self,
        in_channels: int,
        width: int = 256,
        *,
        bins: int = 3,
        aligned: bool = True,
        merge: Merge = "sum",
        sampling: Sampling = "corrected",
    ) -> None:
        super().__init__()
        if merge not in get_args(Merge):
            raise ConfigError(f'unknown merge "{merge}": {did_you_mean(merge, get_args(Merge))}')
        if bins < (2 if aligned else 1):
            raise ConfigError(f"bins must be at least 2 for aligned context, 1 without alignment, got {bins}")
        check_sampling(sampling)
        self.sampling = sampling
        self.concatenate = merge == "concat"
        self.out_channels = 2 * width if self.concatenate else width
        self.context = nn.Sequential(PoolToBins(bins), *_two_convolutions(in_channels, width))
        self.local = _two_convolutions(in_channels, width)
        self.offset = OffsetPredictor(width) if aligned else None

    def forward(self, x: Tensor) -> Tensor:
        context, local = self.context(x), self.local(x)
        spread = F.interpolate(context, size=x.shape[-2:], mode="bilinear", align_corners=True)
        if self.offset is not None:
            spread = warp(context, self.offset(torch.cat((local, spread), 1)), sampling=self.sampling)
        return torch.cat((local, spread), 1) if self.concatenate else local + spread


def _two_convolutions(in_channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        Conv2d(in_channels, in_channels, 1, bias=False),
        *norm_leaky(in_channels),
        nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
        *norm_leaky(width),
    )
