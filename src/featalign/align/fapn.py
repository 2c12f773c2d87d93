"""FaPN: select what the fine map has to say, align the coarse map to it, then join them (ICCV 2021, section 3, Fig. 3).

fine C  (B, fine_channels, H, W) ──▶ FeatureSelection ──▶ Ĉ (B, width, H, W) ─────────────┬──────────▶ + ──▶ P
coarse P (B, width, h, w) ──resized──▶ P^u (B, width, H, W) ─┬─ [Ĉ, P^u] ── 1x1 ── 3x3 ──▶ Δ           ▲
                                                             └──────▶ deformable 3x3, ReLU ◀┘ ─── P̂^u ─┘
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.align.ifa import Resample
from featalign.align.resample import Deconvolution, Resize
from featalign.errors import ConfigError, did_you_mean
from featalign.layers import BatchNorm2d, Conv2d, GroupNorm, OffsetConv2d
from featalign.ops.deform import deform_conv

Norm = Literal["GN", "BN"]
Selection = Literal["fsm", "se", "none"]
Alignment = Literal["before", "after", "deconv", "none"]
Join = Literal["add", "concat"]
_NORM_GROUPS = 32


def conv_norm(
    in_channels: int, out_channels: int, kernel: int = 1, *, norm: Norm | None = None, bias: bool = False
) -> nn.Sequential:
    """A convolution that keeps the size and, if asked for, a group (32 groups) or batch normalization.

    Drawn as the published code draws it: uniform, with the variance 1 / fan-in; a bias starts at zero.

    Raises:
        ConfigError: for an unknown normalization, or channels that 32 groups do not divide.
    """
    convolution = Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=bias)
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    if norm is None:
        return nn.Sequential(convolution)
    _known("normalization", norm, get_args(Norm))
    if norm == "BN":
        return nn.Sequential(convolution, BatchNorm2d(out_channels))
    if out_channels % _NORM_GROUPS:
        raise ConfigError(f"group normalization needs a multiple of {_NORM_GROUPS} channels, got {out_channels}")
    return nn.Sequential(convolution, GroupNorm(_NORM_GROUPS, out_channels))


class FeatureSelection(nn.Module):
    """FSM: channels scaled by their importance, then reduced: ``f_s(C + u * C)`` (FaPN Eq. 4, 5).

    (B, in_channels, h, w) to (B, out_channels, h, w); the importance u in [0, 1] comes from the map's mean.

    Args:
        in_channels, out_channels: of the map.
        norm: normalization inside the importance branch; FaPN's pathway has none.
        skip: False leaves out the sum with the unscaled map: Table 1's squeeze-and-excitation, whose parameters are as
            many as FSM's.
    """

    def __init__(self, in_channels: int, out_channels: int, *, norm: Norm | None = None, skip: bool = True) -> None:
        super().__init__()
        self.importance = conv_norm(in_channels, in_channels, norm=norm)
        self.select = conv_norm(in_channels, out_channels)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        scale = self.importance(x.mean((2, 3), keepdim=True)).sigmoid()
        return self.select(x * (scale + 1 if self.skip else scale))


class DeformableConv(nn.Module):
    """Deformable convolution whose offsets and modulation a second map dictates (FaPN Eq. 3 with DCNv2's modulation).

    Offsets are (row, col) in cells of ``x``, see :func:`~featalign.ops.deform.deform_conv`; they start at zero and the
    modulation at 1/2. Both are predicted in float32, also under autocast: half precision knows distant cells apart only
    roughly.

    Args:
        in_channels, out_channels: of the map.
        reference_channels: of the map that dictates; ``in_channels`` by default.
        kernel, stride: of the convolution, which is padded to keep the size at stride 1 if the kernel is odd.
        groups: of channels that share their offsets; 8 in FaPN.

    Raises:
        ConfigError: for channels that do not divide into the groups.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        reference_channels: int | None = None,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 8,
    ) -> None:
        super().__init__()
        if groups < 1 or in_channels % groups:
            raise ConfigError(f"{in_channels} channels cannot share offsets in {groups} groups; choose a divisor")
        self.groups = groups
        padding = kernel // 2
        self.convolution = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding)
        reference = in_channels if reference_channels is None else reference_channels
        self.predict = OffsetConv2d(reference, 3 * groups * kernel**2, kernel, stride=stride, padding=padding)
        for parameter in self.predict.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:
        """(B, in_channels, h, w) and (B, reference_channels, h, w) to (B, out_channels, h', w')."""
        offset, mask = self.sampling(reference)
        inner = self.convolution
        return deform_conv(
            x,
            offset,
            mask,
            inner.weight,
            inner.bias,
            groups=self.groups,
            stride=inner.stride[0],
            padding=int(inner.padding[0]),
        )

    def sampling(self, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets (B, groups * K * 2, h', w') and modulation (B, groups * K, h', w') in (0, 1), in float32 at least."""
        raw = self.predict(reference)
        offset, mask = raw.tensor_split([2 * raw.shape[1] // 3], 1)
        return offset, mask.sigmoid()


class FeatureAlignment(nn.Module):
    """FAM: the coarse map moved to where the fine one sees it: ``f_a(P^u, f_o([Ĉ, P^u]))`` (FaPN Eq. 1, Fig. 4).

    Args:
        width: channels of both maps and of the result.
        groups: see :class:`DeformableConv`.
        norm: normalization of the joint map from which offsets are predicted.
    """

    def __init__(self, width: int, *, groups: int = 8, norm: Norm | None = None) -> None:
        super().__init__()
        self.compare = conv_norm(2 * width, width, norm=norm)
        self.deform = DeformableConv(width, width, groups=groups)

    def forward(self, coarse: Tensor, reference: Tensor) -> Tensor:
        """Both (B, width, H, W), the coarse map resized already; the result is not negative."""
        return F.relu(self.deform(coarse, self.compare(torch.cat((reference, coarse), 1))))

    def sampling(self, coarse: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets and modulation with which the coarse map is read, see :meth:`DeformableConv.sampling`."""
        return self.deform.sampling(self.compare(torch.cat((reference, coarse), 1)))


class Unaligned(nn.Module):
    """FAM's convolution on the regular grid: 3x3 and ReLU, without offsets, modulation or what predicts them.

    Args:
        width: channels of both maps and of the result.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, coarse: Tensor, reference: Tensor) -> Tensor:
        """Both (B, width, H, W), the coarse map resized already; ``reference`` has no say."""
        return F.relu(self.convolution(coarse))


class FaPNFuse(nn.Module):
    """One step of FaPN's top-down pathway, with the variants of its tables.

    Args:
        fine_channels: channels of the backbone map.
        width: channels of the coarse map and of the result.
        selection: what brings the fine map to ``width`` channels: ``fsm``, or in Table 1 ``se`` (no skip) or ``none``
            (a 1x1 convolution).
        align: ``before`` the maps are joined; in Table 1 also ``after`` (†: the joint map dictates its own offsets) or
            ``deconv`` (no alignment: a transposed convolution, 4x4 of stride 2); or ``none``, :class:`Unaligned`.
        join: ``add``; or ``concat`` and a 1x1 convolution, as the real-time networks do (supplement B).
        resize: of the coarse map to the fine one's size, ``bilinear`` with ``align_corners=False`` as in the published
            code, or ``nearest`` as in supplement B. Without effect on ``deconv``.
        norm: normalization of the map from which offsets are predicted.
        groups: of channels that share their offsets.

    Raises:
        ConfigError: for an unknown choice, or a width that does not divide into the groups.
    """

    def __init__(
        self,
        fine_channels: int,
        width: int,
        *,
        selection: Selection = "fsm",
        align: Alignment = "before",
        join: Join = "add",
        resize: Resample = "bilinear",
        norm: Norm | None = None,
        groups: int = 8,
    ) -> None:
        super().__init__()
        _known("selection", selection, get_args(Selection))
        _known("align", align, get_args(Alignment))
        _known("join", join, get_args(Join))
        _known("resampling", resize, get_args(Resample))
        if norm is not None:
            _known("normalization", norm, get_args(Norm))
        self.lateral = (
            conv_norm(fine_channels, width, bias=True)
            if selection == "none"
            else FeatureSelection(fine_channels, width, skip=selection == "fsm")
        )
        self.enlarge = Deconvolution(width, kernel=4) if align == "deconv" else Resize(resize)
        self.align: nn.Module | None = None
        if align == "before":
            self.align = FeatureAlignment(width, groups=groups, norm=norm)
        elif align == "none":
            self.align = Unaligned(width)
        self.realign = DeformableConv(width, width, groups=groups) if align == "after" else None
        self.merge = conv_norm(2 * width, width, bias=True) if join == "concat" else None

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, width, h, w) and (B, fine_channels, H, W) to (B, width, H, W)."""
        reference = self.lateral(fine)
        enlarged = self.enlarge(coarse, (reference.shape[-2], reference.shape[-1]))
        if self.align is not None:
            enlarged = self.align(enlarged, reference)
        joint = enlarged + reference if self.merge is None else self.merge(torch.cat((reference, enlarged), 1))
        return joint if self.realign is None else F.relu(self.realign(joint, joint))


def _known(what: str, name: str, options: tuple[str, ...]) -> None:
    if name not in options:
        raise ConfigError(f'unknown {what} "{name}": {did_you_mean(name, options)}')
