"""Atrous spatial pyramid pooling (DeepLabV3, section 3.3), as IFA* uses it on the last map (IFA section 4.4).

x (B, C, h, w) ─┬─ image mean ─ 1x1 ─ back to (h, w) ─┐
                ├─ 1x1 ───────────────────────────────┤
                └─ 3x3 at each dilation ──────────────┴─ concatenate (B, (2 + dilations) * inner, h, w) ─ 3x3 ─▶ out
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from featalign.errors import check_counts
from featalign.layers import conv_norm_relu


class ASPP(nn.Module):
    """Maps (B, in_channels, h, w) to (B, out_channels, h, w).

    Args:
        in_channels, out_channels: of the map.
        inner: channels of each branch.
        dilations: of the 3x3 branches; the published IFA* has (12, 24, 36).
        dropout: probability that a channel of the result is dropped in training.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        inner: int = 256,
        dilations: Sequence[int] = (12, 24, 36),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_counts(dilations=dilations)
        self.image = conv_norm_relu(in_channels, inner)
        self.point = conv_norm_relu(in_channels, inner)
        self.atrous = nn.ModuleList(conv_norm_relu(in_channels, inner, 3, dilation=rate) for rate in dilations)
        self.merge = nn.Sequential(
            *conv_norm_relu((2 + len(dilations)) * inner, out_channels, 3), nn.Dropout2d(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        image = self.image(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        return self.merge(torch.cat([image, self.point(x), *(branch(x) for branch in self.atrous)], 1))
