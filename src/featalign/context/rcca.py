"""Recurrent criss-cross attention (CCNet, ICCV 2019, section 3).

    x ──3x3──▶ inner ── criss-cross ── criss-cross (same weights) ──3x3──┐
      └───────────────────────────────────────────────── concatenate ────┴─3x3─▶ out

Each cell attends to its own row and column; after two rounds it has heard from every cell of the map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from featalign.layers import conv_norm_relu


class CrissCrossAttention(nn.Module):
    """Every cell of (B, channels, h, w) plus a weighted sum over the h + w - 1 cells of its column and row.

    Args:
        channels: of the map, kept.
        keys: channels of queries and keys; by default an eighth of ``channels``, as in the paper's code.

    The sum is scaled by ``gamma``, which starts at 0: the module starts as the identity.
    """

    def __init__(self, channels: int, *, keys: int | None = None) -> None:
        super().__init__()
        keys = keys or max(1, channels // 8)
        self.query = nn.Conv2d(channels, keys, 1)
        self.key = nn.Conv2d(channels, keys, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.query(x), self.key(x), self.value(x)
        height = x.shape[2]
        column = torch.einsum("bchw,bcgw->bhwg", query, key)
        row = torch.einsum("bchw,bchv->bhwv", query, key)
        own = torch.eye(height, dtype=torch.bool, device=x.device)[:, None]  # its own cell is already in the row
        weights = torch.cat((column.masked_fill(own, float("-inf")), row), -1).softmax(-1).to(value.dtype)
        context = torch.einsum("bhwg,bcgw->bchw", weights[..., :height], value)
        context = context + torch.einsum("bhwv,bchv->bchw", weights[..., height:], value)
        return x + self.gamma * context


class RCCA(nn.Module):
    """Maps (B, in_channels, h, w) to (B, out_channels, h, w).

    Args:
        in_channels, out_channels: of the map.
        inner: channels on which attention works; the published networks have 512, a quarter of ``in_channels``.
        recurrence: rounds of attention, with shared weights.
        dropout: probability that a channel of the result is dropped in training.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, inner: int = 512, recurrence: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.recurrence = recurrence
        self.reduce = conv_norm_relu(in_channels, inner, 3)
        self.attention = CrissCrossAttention(inner)
        self.after = conv_norm_relu(inner, inner, 3)
        self.merge = nn.Sequential(*conv_norm_relu(in_channels + inner, out_channels, 3), nn.Dropout2d(dropout))

    def forward(self, x: Tensor) -> Tensor:
        context = self.reduce(x)
        for _ in range(self.recurrence):
            context = self.attention(context)
        return self.merge(torch.cat((x, self.after(context)), 1))
