"""Pyramid pooling (PSPNet, CVPR 2017, section 3.2).

x (B, C, h, w) ─┬─ mean over each cell of a b x b grid ─ 1x1 ─ back to (h, w), for b in bins ─┐
                └────────────────────────────────────────────────────────── concatenate ─┴─ 3x3 ─▶ out
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.context.pooling import pool_to_bins
from featalign.errors import check_counts
from featalign.layers import conv_norm_relu


class PyramidPooling(nn.Module):
    """Maps (B, in_channels, h, w) to (B, out_channels, h, w).

    Args:
        in_channels, out_channels: of the map.
        bins: cells per side of each pooled map.
        inner: channels of each pooled map; by default ``in_channels`` shared out among the bins, as in the paper.
        kernel: of the last convolution; 3 in PSPNet, 1 in SFNet.
        activation: whether the pooled maps pass a ReLU; SFNet has none there.
        align_corners: how the pooled maps are resized. False lets each lie on the area that it was pooled from; the
            published codes use True.
        dropout: probability that a channel of the result is dropped in training.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bins: Sequence[int] = (1, 2, 3, 6),
        inner: int | None = None,
        kernel: int = 3,
        activation: bool = True,
        align_corners: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_counts(bins=bins)
        inner = inner or max(1, in_channels // len(bins))
        layers = 3 if activation else 2
        self.bins = tuple(bins)
        self.align_corners = align_corners
        self.branches = nn.ModuleList(conv_norm_relu(in_channels, inner)[:layers] for _ in bins)
        self.merge = nn.Sequential(
            *conv_norm_relu(len(bins) * inner + in_channels, out_channels, kernel), nn.Dropout2d(dropout)
        )

    def pooled(self, x: Tensor) -> list[Tensor]:
        """The pooled maps on their own grids, (B, inner, b, b) per bin: what a pathway may align in its own way."""
        return [branch(pool_to_bins(x, b)) for branch, b in zip(self.branches, self.bins, strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        spread = [F.interpolate(m, size, mode="bilinear", align_corners=self.align_corners) for m in self.pooled(x)]
        return self.merge(torch.cat([*spread, x], 1))
