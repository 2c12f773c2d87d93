"""Object-contextual representations (OCR, ECCV 2020, section 3.2).

x ─┬─ region head ──▶ K soft regions ─────────────┐
   └─3x3─▶ pixels ─┬─ mean over each region (1) ──▶ K region representations
                   ├─ relation of pixel and region (2) ──▶ sum of regions = object context
                   └─────────────────────────────────── concatenate ──1x1──▶ out
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from featalign.layers import conv_norm_relu


class ObjectContextOutput(NamedTuple):
    """``maps`` (B, out_channels, h, w); ``region_logits`` (B, K, h, w), to be supervised like the answer itself."""

    maps: Tensor
    region_logits: Tensor


class ObjectContext(nn.Module):
    """Maps (B, in_channels, h, w) to (B, out_channels, h, w).

    Args:
        in_channels, out_channels: of the map; the published networks have 512 ``out_channels``.
        classes: number of soft regions: one per class.
        inner: channels of the pixel and region representations.
        keys: channels in which pixels and regions are compared.
        dropout: probability that a channel of the result is dropped in training.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        classes: int,
        inner: int = 512,
        keys: int = 256,
        dropout: float = 0.05,
    ) -> None:
        super().__init__()
        self.regions = nn.Sequential(*conv_norm_relu(in_channels, in_channels), nn.Conv2d(in_channels, classes, 1))
        self.pixels = conv_norm_relu(in_channels, inner, 3)
        self.query = nn.Sequential(*conv_norm_relu(inner, keys), *conv_norm_relu(keys, keys))
        self.key = nn.Sequential(*conv_norm_relu(inner, keys), *conv_norm_relu(keys, keys))
        self.value = conv_norm_relu(inner, keys)
        self.restore = conv_norm_relu(keys, inner)
        self.merge = nn.Sequential(*conv_norm_relu(2 * inner, out_channels), nn.Dropout2d(dropout))

    def forward(self, x: Tensor) -> Tensor:
        return self.with_regions(x).maps

    def with_regions(self, x: Tensor) -> ObjectContextOutput:
        """The maps, and the logits of the soft regions for the auxiliary loss that makes regions of classes."""
        logits = self.regions(x)
        pixels = self.pixels(x)
        context = self.restore(self._attend(pixels, gather_regions(pixels, logits)))
        return ObjectContextOutput(self.merge(torch.cat((context, pixels), 1)), logits)

    def _attend(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """Eq. 2, 3: to every pixel (B, inner, h, w) the regions (B, inner, K, 1) that it resembles: (B, keys, h, w)."""
        query, key, value = (t.flatten(2) for t in (self.query(pixels), self.key(regions), self.value(regions)))
        relation = (query.transpose(1, 2) @ key / math.sqrt(key.shape[1])).softmax(-1).to(value.dtype)
        return (value @ relation.transpose(1, 2)).unflatten(2, pixels.shape[-2:])


def gather_regions(pixels: Tensor, region_logits: Tensor) -> Tensor:
    """Eq. 1: the mean of the pixels (B, C, h, w) in each soft region: (B, C, K, 1).

    A region's weights over the pixels are the softmax of its logits (B, K, h, w) over the map, so they sum to 1.
    """
    weights = region_logits.flatten(2).softmax(-1).to(pixels.dtype)
    return (pixels.flatten(2) @ weights.transpose(1, 2))[..., None]
