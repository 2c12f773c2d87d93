"""Ways through a pyramid that take any fuse: from coarse to fine (FPN, SFNet, FaPN) or from fine to coarse (AlignSeg).

A fuse is built by ``fuse(fine_channels, width)`` and called as ``fuse(coarse, fine)``: coarse (B, width, h, w), already
fused; fine (B, fine_channels, H, W), raw; result (B, width, H, W).

    TopDown:                                        BottomUp:
    C5 ──top──▶ P5 ──────────┬─(smooth)─▶           C2 ──enter─────────────────────▶ A2
    C4 ──────▶ fuse ──▶ P4 ──┼─(smooth)─▶           C3 ──enter──▶ fuse ─(refine)──▶ A3
    C3 ──────▶ fuse ──▶ P3 ──┼─(smooth)─▶           C4 ──enter──▶ fuse ─(refine)──▶ A4
    C2 ──────▶ fuse ──▶ P2 ──┴─(smooth)─▶           C5 ──enter──▶ fuse ─(refine)──▶ A5, all at the size of C2
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from featalign.errors import ConfigError

Build = Callable[[int, int], nn.Module]  # (in_channels, out_channels), or (fine_channels, width) for a fuse
_project = partial(nn.Conv2d, kernel_size=1)


class TopDown(nn.Module):
    """Maps (B, channels[i], h_i, w_i), finest first, to as many of ``width`` channels on the same grids.

    Args:
        channels: of the maps, finest first.
        width: channels of every result.
        fuse: builds each step, see above.
        top: builds what brings the coarsest map to ``width`` channels; a 1x1 convolution by default.
        smooth: builds, from (width, width), what a fused map passes on its way out, such as FPN's 3x3 convolution. The
            next finer step takes the map before it. None for nothing.
        smooth_top: whether the coarsest map passes one too, as in FPN; in the published FaPN it does not.

    Raises:
        ConfigError: without any map.
    """

    def __init__(
        self,
        channels: Sequence[int],
        width: int,
        fuse: Build,
        *,
        top: Build = _project,
        smooth: Build | None = None,
        smooth_top: bool = True,
    ) -> None:
        super().__init__()
        fine, coarsest = _split(channels)
        self.fuses = nn.ModuleList(fuse(count, width) for count in fine)
        self.top = top(coarsest, width)
        smoothed = [smooth] * len(fine) + [smooth if smooth_top else None]
        self.smooth = nn.ModuleList(nn.Identity() if build is None else build(width, width) for build in smoothed)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        fused = [self.top(maps[-1])]
        for fuse, fine in zip(reversed(self.fuses), reversed(maps[:-1]), strict=True):
            fused.insert(0, _on_grid(fuse(fused[0], fine), fine, fuse))
        return [smooth(level) for smooth, level in zip(self.smooth, fused, strict=True)]


class BottomUp(nn.Module):
    """Keeps the finest map's grid and takes in one coarser map after the other (AlignSeg, section 3.1).

    Args:
        channels: of the maps, finest first.
        width: channels of every result.
        fuse: builds each step, see above; both of its maps have ``width`` channels.
        enter: builds what brings each map to ``width`` channels on its own grid.
        refine: builds, from (width, width), what each fused map passes before the next step. None for nothing.

    Raises:
        ConfigError: without any map.
    """

    def __init__(
        self,
        channels: Sequence[int],
        width: int,
        fuse: Build,
        *,
        enter: Build = _project,
        refine: Build | None = None,
    ) -> None:
        super().__init__()
        fine, _ = _split(channels)
        self.enter = nn.ModuleList(enter(count, width) for count in channels)
        self.fuses = nn.ModuleList(fuse(width, width) for _ in fine)
        self.refine = nn.ModuleList(nn.Identity() if refine is None else refine(width, width) for _ in fine)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, C_i, h_i, w_i), finest first, to as many maps (B, width, h_0, w_0); the i-th has taken in 0 … i."""
        finest, *coarser = (enter(level) for enter, level in zip(self.enter, maps, strict=True))
        passed = [finest]
        for level, fuse, refine in zip(coarser, self.fuses, self.refine, strict=True):
            passed.append(refine(_on_grid(fuse(level, passed[-1]), finest, fuse)))
        return passed


def _on_grid(fused: Tensor, fine: Tensor, fuse: nn.Module) -> Tensor:
    """What a fuse gave. Raises ConfigError if it does not lie on the finer map's grid."""
    if not torch.compiler.is_compiling() and fused.shape[-2:] != fine.shape[-2:]:
        raise ConfigError(
            f"{type(fuse).__name__} gave a map of {tuple(fused.shape[-2:])} cells for a finer map of "
            f"{tuple(fine.shape[-2:])}; a fuse answers on the finer map's grid"
        )
    return fused


def _split(channels: Sequence[int]) -> tuple[Sequence[int], int]:
    if not channels:
        raise ConfigError("a pathway needs the channels of at least one map, got none")
    return channels[:-1], channels[-1]
