"""The plain ways to bring a coarse map to a finer grid (IFA Table 1), and the fuse that adds the result to a fine map.

    coarse (B, width, h, w) ──▶ resample to (H, W) ──┐
    fine (B, C, H, W) ──1x1──────────────────────────┴─ + ─▶ (B, width, H, W)

A resampler is a module ``forward(x, size)``: (B, width, h, w) to (B, width, *size). With one per coarser level before
:class:`~featalign.align.ImplicitFunction` without position code, it gives the rows of IFA Table 1; inside
:class:`AddFuse` it gives one step of a pathway.
"""

from __future__ import annotations

from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.align.ifa import Resample
from featalign.errors import ConfigError, did_you_mean
from featalign.layers import Conv2d, conv_norm_relu


class Resize(nn.Module):
    """Bilinear or nearest interpolation between cell centres (``align_corners=False``); no parameters."""

    def __init__(self, mode: Resample = "bilinear") -> None:
        super().__init__()
        if mode not in get_args(Resample):
            raise ConfigError(f'unknown resampling "{mode}": {did_you_mean(mode, get_args(Resample))}')
        self.mode = mode

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(x, size, mode="bilinear" if self.mode == "bilinear" else "nearest-exact")

    def extra_repr(self) -> str:
        return f'"{self.mode}"'


class Deconvolution(nn.Module):
    """One transposed convolution with bias that enlarges ``scale`` times, brought to the exact size by :func:`fit`.

    Args:
        width: channels of the map, kept.
        scale: stride of the transposed convolution, 2 or more.
        kernel: its side. 3 at scales 2, 4, 8 gives the parameters of IFA Table 1. A kernel smaller than the scale
            leaves gaps: output cells that no input reaches, where only the bias stands.
    """

    def __init__(self, width: int, *, scale: int = 2, kernel: int = 3) -> None:
        super().__init__()
        if scale < 2 or kernel < 1:
            raise ConfigError(f"expected a scale of at least 2 and a kernel of at least 1, got {scale} and {kernel}")
        self.scale = scale
        padding = max(0, (kernel - scale + 1) // 2)
        extra = scale - kernel + 2 * padding  # so that n cells become exactly scale * n
        self.convolution = nn.ConvTranspose2d(width, width, kernel, scale, padding, extra)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return fit(self.convolution(x), size, scale=self.scale)


class UpsamplingModule(nn.Module):
    """3x3 convolution, norm, ReLU, then bilinear enlargement; once per halving of the stride.

    The convolution runs before the enlargement, where it costs a quarter: this is what the multiply-adds of IFA
    Table 1 tell.

    Args:
        width: channels of the map, kept.
        convolutions: number of rounds: 1, 2, 3 for stride 8, 16, 32 to stride 4. The sizes between are those of the
            levels between, each half of the next, rounded up.
    """

    def __init__(self, width: int, *, convolutions: int = 1) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(conv_norm_relu(width, width, 3, bias=True) for _ in range(convolutions))

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        for done, convolution in enumerate(self.convolutions, start=1):
            pitch = 2 ** (len(self.convolutions) - done)
            step = [-(-side // pitch) for side in size]
            x = F.interpolate(convolution(x), step, mode="bilinear")
        return x


class AddFuse(nn.Module):
    """``lateral(fine) + resample(coarse)``, the step of FPN (CVPR 2017, section 3).

    Args:
        fine_channels: channels of the backbone map.
        width: channels of the coarse map and of the result.
        resample: a resampler of ``width`` channels, see the head of this file.
    """

    def __init__(self, fine_channels: int, width: int, *, resample: nn.Module) -> None:
        super().__init__()
        self.lateral = Conv2d(fine_channels, width, 1)
        self.resample = resample

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, width, h, w) and (B, fine_channels, H, W) to (B, width, H, W)."""
        return self.lateral(fine) + self.resample(coarse, (fine.shape[-2], fine.shape[-1]))


def nearest_add(fine_channels: int, width: int) -> AddFuse:
    """FPN's own fuse: the nearest cell of the coarse map."""
    return AddFuse(fine_channels, width, resample=Resize("nearest"))


def bilinear_add(fine_channels: int, width: int) -> AddFuse:
    """FPN's fuse with bilinear interpolation."""
    return AddFuse(fine_channels, width, resample=Resize("bilinear"))


def deconvolution_add(fine_channels: int, width: int) -> AddFuse:
    """FPN's fuse with a 3x3 transposed convolution of stride 2."""
    return AddFuse(fine_channels, width, resample=Deconvolution(width))


def upsampling_add(fine_channels: int, width: int) -> AddFuse:
    """FPN's fuse with one round of :class:`UpsamplingModule`."""
    return AddFuse(fine_channels, width, resample=UpsamplingModule(width))


def fit(x: Tensor, size: tuple[int, int], *, scale: int) -> Tensor:
    """A map enlarged ``scale`` times, on the exact ``size`` of the finer level.

    The maps of a backbone begin at the same corner and round their sizes up, so a surplus of less than one coarse cell
    lies beyond the finer map and is cut off at the right or at the bottom. Along an axis with any other size the map is
    resized bilinearly.
    """
    height, width = (_kept(have, want, scale) for have, want in zip(x.shape[-2:], size, strict=True))
    if torch.compiler.is_exporting():  # sizes are symbols, which decide nothing; a resize to itself is a copy
        rows, columns = (torch.arange(side, device=x.device) for side in (height, width))
        return F.interpolate(x.index_select(2, rows).index_select(3, columns), size, mode="bilinear")
    x = x[..., :height, :width]
    return x if (height, width) == size else F.interpolate(x, size, mode="bilinear")


def _kept(have: int, want: int, scale: int) -> int:
    """``want`` if that cuts less than ``scale`` of the cells that there are, else all of them; without a branch."""
    cells = (have - want) // scale  # coarse cells beyond the finer map; 0 if less than one, negative if cells lack
    return have - (have - want) * (1 // (1 + cells * cells))
