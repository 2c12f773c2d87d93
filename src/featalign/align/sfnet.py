"""SFNet's flow alignment (ECCV 2020, sections 3.2, 3.3; its second version is the gated one of the journal's
SFNet-Lite) and the head around it.

    C5 ── context ──▶ F5 ────────────┐
    C4 ──1x1──▶ lateral ── flow ──▶ warp F5, + lateral ──▶ F4 ──┐
    C3 ──1x1──▶ lateral ── flow ──▶ warp F4, + lateral ──────▶ F3 ──┐
    C2 ──1x1──▶ lateral ── flow ──▶ warp F3, + lateral ──────────▶ F2
    F5 and 3x3 of F4, F3, F2 ──▶ all at stride 4, concatenated ──3x3──1x1──▶ K logits

Convention of the published code, kept here: a flow is (x, y) per cell of the finer map, in units of half a cell
of that map (see :func:`~featalign.ops.warp.warp`, ``sampling="sfnet"``), and everything is resized with
``align_corners=True``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.errors import ConfigError, did_you_mean
from featalign.layers import Conv2d, OffsetConv2d, conv_norm_relu
from featalign.ops.warp import warp

Gate = Literal["features", "pooling"]


class AlignedModule(nn.Module):
    """The coarse map, warped onto the fine one by a flow that both predict: the Flow Alignment Module.

    Args:
        width: channels of both maps.
        inner: channels of each before the flow is predicted; the published networks have half of ``width``.
    """

    flows = 1

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.project_coarse = Conv2d(width, inner, 1, bias=False)
        self.project_fine = Conv2d(width, inner, 1, bias=False)
        self.predict = OffsetConv2d(2 * inner, 2 * self.flows, 3, padding=1, bias=False)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, width, h, w) and (B, width, H, W) to (B, width, H, W)."""
        return warp(coarse, self.flow(coarse, fine), sampling="sfnet")

    def flow(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, 2 * flows, H, W): from a cell of the fine map to where the coarse map is read, x then y; in the second
        version then the same for the fine map."""
        return self.predict(torch.cat(self._projected(coarse, fine), 1))

    def _projected(self, coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        return _resize(self.project_coarse(coarse), fine), self.project_fine(fine)


class AlignedModuleV2(AlignedModule):
    """Both maps warped, each by a flow of its own, and mixed by a gate.

    Args:
        width, inner: see :class:`AlignedModule`.
        gate: what the gate is predicted from: ``features``, the two projected maps; ``pooling``, mean and maximum
            over the channels of the projected coarse map and of the unprojected fine one, as published.
    """

    flows = 2

    def __init__(self, width: int, inner: int, *, gate: Gate = "features") -> None:
        super().__init__(width, inner)
        if gate not in get_args(Gate):
            raise ConfigError(f'unknown gate "{gate}": {did_you_mean(gate, get_args(Gate))}')
        self.pools = gate == "pooling"
        self.gate = nn.Conv2d(4 if self.pools else 2 * inner, 1, 3, padding=1, bias=False)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, width, h, w) and (B, width, H, W) to (B, width, H, W): the fused map, not the aligned coarse one."""
        projected, lateral = self._projected(coarse, fine)
        from_coarse, from_fine = self.predict(torch.cat((projected, lateral), 1)).chunk(2, 1)
        seen = _pooled(projected, fine) if self.pools else torch.cat((projected, lateral), 1)
        gate = self.gate(seen).sigmoid()
        moved = warp(coarse, from_coarse, sampling="sfnet"), warp(fine, from_fine, sampling="sfnet")
        return moved[0] * gate + moved[1] * (1 - gate)


class FlowFuse(nn.Module):
    """``lateral(fine) + AlignedModule(coarse, lateral(fine))``: one step of SFNet's pathway.

    Args:
        fine_channels: channels of the backbone map.
        width: channels of the coarse map and of the result.
    """

    def __init__(self, fine_channels: int, width: int) -> None:
        super().__init__()
        self.lateral = conv_norm_relu(fine_channels, width, bias=True)
        self.aligned = AlignedModule(width, _half(width))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, width, h, w) and (B, fine_channels, H, W) to (B, width, H, W)."""
        lateral = self.lateral(fine)
        return lateral + self.aligned(coarse, lateral)


class GatedFlowFuse(nn.Module):
    """:class:`AlignedModuleV2` between the coarse map and the lateral; arguments as in :class:`FlowFuse` and there."""

    def __init__(self, fine_channels: int, width: int, *, gate: Gate = "features") -> None:
        super().__init__()
        self.lateral = conv_norm_relu(fine_channels, width, bias=True)
        self.aligned = AlignedModuleV2(width, _half(width), gate=gate)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, width, h, w) and (B, fine_channels, H, W) to (B, width, H, W)."""
        return self.aligned(coarse, self.lateral(fine))


class SFNetHead(nn.Module):
    """Backbone maps, finest first, to logits on the finest one's grid; see the figure at the head of this file.

    Args:
        channels: of the backbone maps.
        classes: K.
        context: for the coarsest map, ``channels[-1]`` to ``width``; published: pyramid pooling.
        width: channels of every level.
        fuse: ``fuse(fine_channels, width)`` builds one step of the pathway.
        auxiliary: whether every fused level has a head of its own for training.
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        *,
        context: nn.Module,
        width: int = 256,
        fuse: Callable[[int, int], nn.Module] = FlowFuse,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        self.context = context
        self.fuses = nn.ModuleList(fuse(fine, width) for fine in channels[:-1])
        self.smooth = nn.ModuleList(conv_norm_relu(width, width, 3) for _ in self.fuses)
        self.classify = nn.Sequential(*conv_norm_relu(len(channels) * width, width, 3), nn.Conv2d(width, classes, 1))
        self.auxiliary = nn.ModuleList(_auxiliary_head(width, classes) for _ in self.fuses) if auxiliary else None

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(B, channels[i], h_i, w_i), finest first, to (B, K, h_0, w_0)."""
        return self.answer(self.fuse(maps))

    def fuse(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The fused levels of ``width`` channels, finest first; the last one is the context's."""
        levels = [self.context(maps[-1])]
        for fuse, fine in zip(reversed(self.fuses), reversed(maps[:-1]), strict=True):
            levels.insert(0, fuse(levels[0], fine))
        return levels

    def answer(self, levels: Sequence[Tensor]) -> Tensor:
        """Logits (B, K, h_0, w_0) of fused levels."""
        smoothed = [smooth(level) for smooth, level in zip(self.smooth, levels[:-1], strict=True)]
        return self.classify(torch.cat([_resize(level, levels[0]) for level in (*smoothed, levels[-1])], 1))

    def auxiliary_logits(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Logits of every fused level but the coarsest, each on its own grid, finest first; empty without heads."""
        return [head(level) for head, level in zip(self.auxiliary or (), levels, strict=False)]


def _auxiliary_head(width: int, classes: int) -> nn.Sequential:
    hidden = conv_norm_relu(width, width, 3, bias=True)
    return nn.Sequential(*hidden, nn.Dropout2d(0.1), nn.Conv2d(width, classes, 1))


def _pooled(coarse: Tensor, fine: Tensor) -> Tensor:
    maps = coarse, fine
    return torch.cat([m.mean(1, keepdim=True) for m in maps] + [m.amax(1, keepdim=True) for m in maps], 1)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)


def _half(width: int) -> int:
    return max(1, width // 2)
