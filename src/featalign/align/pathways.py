"""Ways through a pyramid that take any fuse: from coarse to fine (FPN, SFNet, FaPN) or from fine to coarse (AlignSeg).

A fuse is built by ``fuse(fine_channels, width)`` and called as ``fuse(coarse, fine)``: coarse (B, width, h, w), already
fused; fine (B, fine_channels, H, W), raw; result (B, width, H, W).

    TopDown:                                        BottomUp:
    C5 ──top──▶ P5 ──────────┬─(smooth)─▶           C2 ──────────────────────┬─▶ A2
    C4 ──────▶ fuse ──▶ P4 ──┼─(smooth)─▶           C3 ──lateral──▶ fuse ──▶ ├─▶ A3
    C3 ──────▶ fuse ──▶ P3 ──┼─(smooth)─▶           C4 ──lateral──▶ fuse ──▶ ├─▶ A4
    C2 ──────▶ fuse ──▶ P2 ──┴─(smooth)─▶           C5 ──lateral──▶ fuse ──▶ └─▶ A5, all at the size of C2
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

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
            fused.insert(0, fuse(fused[0], fine))
        return [smooth(level) for smooth, level in zip(self.smooth, fused, strict=True)]


class BottomUp(nn.Module):
    """Maps (B, channels[i], h_i, w_i), finest first, to as many running results (B, width, h_0, w_0).

    The i-th has taken in the levels 0 … i, so the last one has taken in all (AlignSeg section 3.1).

    Args:
        channels: of the maps, finest first.
        width: channels of every result.
        fuse: builds each step, see above; its fine map is the running one, of ``width`` channels.
        lateral: builds what brings a coarser map to ``width`` channels.
        refine: builds what the running map passes before each step, from (channels[0], width) the first time and from
            (width, width) later. None for nothing, or a ``lateral`` the first time if the widths differ.

    Raises:
        ConfigError: without any map.
    """

    def __init__(
        self,
        channels: Sequence[int],
        width: int,
        fuse: Build,
        *,
        lateral: Build = _project,
        refine: Build | None = None,
    ) -> None:
        super().__init__()
        _split(channels)
        enter = refine or (lateral if channels[0] != width else _pass)
        self.refine = nn.ModuleList([enter(channels[0], width)])
        self.refine.extend((refine or _pass)(width, width) for _ in channels[2:])
        self.laterals = nn.ModuleList(lateral(count, width) for count in channels[1:])
        self.fuses = nn.ModuleList(fuse(width, width) for _ in channels[1:])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        results = [self.refine[0](maps[0])]
        for i, (lateral, fuse, coarse) in enumerate(zip(self.laterals, self.fuses, maps[1:], strict=True)):
            fine = results[-1] if i == 0 else self.refine[i](results[-1])
            results.append(fuse(lateral(coarse), fine))
        return results


def _pass(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Identity()


def _split(channels: Sequence[int]) -> tuple[Sequence[int], int]:
    if not channels:
        raise ConfigError("a pathway needs the channels of at least one map, got none")
    return channels[:-1], channels[-1]
