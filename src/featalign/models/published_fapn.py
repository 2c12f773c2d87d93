"""Weights of the published FaPN code (github.com/EMI-Group/FaPN) in the modules of this library.

    image ──▶ residual network ──▶ C5 ──1x1────────────────────────▶ p5 ──▶ p6 (, p7)
                                   C4 ──▶ FSM + FAM with p5 ──3x3──▶ p4
                                   C3 ──▶ FSM + FAM with P4 ──3x3──▶ p3        P: before its 3x3 convolution
                                   C2 ──▶ FSM + FAM with P3 ──3x3──▶ p2

The residual network is detectron2's: stride in the first 1x1 convolution of a block, batch normalization frozen, images
in BGR order with 103.53, 116.28, 123.675 subtracted and no division.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from featalign.align.fapn import DeformableConv, FaPNFuse, FeatureSelection, Norm
from featalign.backbones import Pyramid, freeze_norms
from featalign.errors import WeightsError
from featalign.models.feature_pyramid import ExtraLevels, FeaturePyramid, Neck, Subsampled
from featalign.models.storage import filled

State = dict[str, Tensor]
_FINE = ("2", "3", "4")  # levels that have a fuse; detectron2 counts them by the power of two of their stride
_DEPTHS = {6: "resnet50", 23: "resnet101", 36: "resnet152"}  # blocks in the third stage


def published_neck(
    channels: Sequence[int], width: int, *, norm: Norm | None = None, extra: ExtraLevels | None = None
) -> Neck:
    """The published FAN: backbone maps, finest first, to p2 … p5 on their grids and one or two coarser maps.

    Args:
        channels: of the four backbone maps.
        width: channels of every result.
        norm: normalization of the pathway.
        extra: makes p6 and p7 from the last backbone map; without it p6 is every second cell of p5.
    """
    fuse = partial(FaPNFuse, norm=norm)
    return Neck(channels, width, fuse, norm=norm, smooth_top=False, extra=extra or Subsampled())


def published_backbone(name: str) -> Pyramid:
    """detectron2's residual network with frozen norms; ``name``: resnet50, resnet101 or resnet152."""
    backbone = Pyramid(name)
    for stage in range(2, 5):
        block = getattr(backbone.body, f"layer{stage}")[0]
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
    freeze_norms(backbone)
    return backbone


def load_fapn(state: Mapping[str, Tensor]) -> nn.Module | None:
    """A module with published FaPN weights, or None where the names are not FaPN's.

    Args:
        state: of a FeatureSelectionModule, a DCN, a FeatureAlign_V2, a FAN or a FAN with its residual network; which of
            them, and its sizes, is read off the names and shapes. Of a detectron2 checkpoint only what stands under
            ``backbone.`` is read: the heads are not FaPN's.

    Returns:
        A :class:`~featalign.align.fapn.FeatureSelection`, :class:`~featalign.align.fapn.DeformableConv` (stride 1:
        weights do not tell), :class:`~featalign.align.fapn.FaPNFuse`, :class:`~featalign.models.feature_pyramid.Neck`
        or :class:`~featalign.models.feature_pyramid.FeaturePyramid`, which torchvision's detectors take.

    Raises:
        WeightsError: if names or shapes do not fit together.
    """
    if "backbone.fan_align5.weight" in state:
        state = _under(state, "backbone.")
    try:
        for marks, build, rename in _PARTS:
            if all(mark in state for mark in marks):
                return filled(build(state), {rename(name): _halves(name, value) for name, value in state.items()})
    except KeyError as error:
        raise WeightsError(f"published FaPN weights lack {error}") from error
    except ValueError as error:
        raise WeightsError(f"published FaPN weights have shapes that do not fit: {error}") from error
    return None


def _selection(state: Mapping[str, Tensor]) -> FeatureSelection:
    out_channels, in_channels = state["conv.weight"].shape[:2]
    return FeatureSelection(in_channels, out_channels, norm=_norm(state, "conv_atten."))


def _deformable(state: Mapping[str, Tensor]) -> DeformableConv:
    predict, (out_channels, in_channels, kernel) = state["conv_offset_mask.weight"], state["weight"].shape[:3]
    groups = predict.shape[0] // (3 * kernel**2)
    return DeformableConv(in_channels, out_channels, reference_channels=predict.shape[1], kernel=kernel, groups=groups)


def _fuse(state: Mapping[str, Tensor]) -> FaPNFuse:
    width, fine_channels = state["lateral_conv.conv.weight"].shape[:2]
    groups = _deformable(_under(state, "dcpack_L2.")).groups
    return FaPNFuse(fine_channels, width, norm=_norm(state, "offset."), groups=groups)


def _neck(state: Mapping[str, Tensor]) -> Neck:
    width, coarsest = state["fan_align5.weight"].shape[:2]
    channels = [state[f"fan_align{level}.lateral_conv.conv.weight"].shape[1] for level in _FINE]
    return published_neck([*channels, coarsest], width, norm=_norm(state, "fan_align5."), extra=_extra(state))


def _pyramid(state: Mapping[str, Tensor]) -> FeaturePyramid:
    blocks = len({name.split(".")[2] for name in state if name.startswith("bottom_up.res4.")})
    if blocks not in _DEPTHS:
        raise WeightsError(f"expected a residual network with {sorted(_DEPTHS)} third-stage blocks, got {blocks}")
    return FeaturePyramid(published_backbone(_DEPTHS[blocks]), _neck(state))


def _extra(state: Mapping[str, Tensor]) -> ExtraLevels | None:
    if "top_block.p6.weight" not in state:
        return None
    width, in_channels = state["top_block.p6.weight"].shape[:2]
    return ExtraLevels(in_channels, width)


def _norm(state: Mapping[str, Tensor], prefix: str) -> Norm | None:
    """Which normalization follows a published convolution; only batch normalization keeps running statistics."""
    if f"{prefix}norm.weight" not in state:
        return None
    return "BN" if f"{prefix}norm.running_var" in state else "GN"


def _halves(name: str, value: Tensor) -> Tensor:
    """The published code doubles the coarse map before it is compared; here its half of the matrix is doubled."""
    if not re.search(r"(^|\.)offset\.weight$", name):
        return value
    reference, coarse = value.chunk(2, 1)
    return torch.cat((reference, 2 * coarse), 1)


def _name_selection(name: str) -> str:
    return _layer(_layer(name, "conv_atten.", "importance."), "conv.", "select.")


def _name_deformable(name: str) -> str:
    inner = name.removeprefix("conv_offset_mask.")
    return f"convolution.{name}" if inner == name else f"predict.{inner}"


def _name_fuse(name: str) -> str:
    part, _, rest = name.partition(".")
    if part == "lateral_conv":
        return f"lateral.{_name_selection(rest)}"
    if part == "dcpack_L2":
        return f"align.deform.{_name_deformable(rest)}"
    return _layer(name, "offset.", "align.compare.")


def _name_neck(name: str) -> str:
    if found := re.match(r"fan_align([234])\.(.+)", name):
        return f"pathway.fuses.{_FINE.index(found[1])}.{_name_fuse(found[2])}"
    if found := re.match(r"fpn_output([234])\.", name):
        return _layer(name, found[0], f"pathway.smooth.{_FINE.index(found[1])}.")
    return _layer(name, "fan_align5.", "pathway.top.").replace("top_block.", "extra.")


def _name_pyramid(name: str) -> str:
    inner = name.removeprefix("bottom_up.")
    if inner == name:
        return f"neck.{_name_neck(name)}"
    inner = re.sub(r"^res(\d)\.", lambda found: f"layer{int(found[1]) - 1}.", inner.removeprefix("stem."))
    inner = inner.replace("shortcut.norm.", "downsample.1.").replace("shortcut.", "downsample.0.")
    return "backbone.body." + re.sub(r"conv(\d)\.norm\.", r"bn\1.", inner)


def _layer(name: str, published: str, ours: str) -> str:
    """A published convolution, its normalization named ``norm``, as the two members of a ``conv_norm``."""
    if not name.startswith(published):
        return name
    rest = name.removeprefix(published)
    return ours + (f"1.{rest.removeprefix('norm.')}" if rest.startswith("norm.") else f"0.{rest}")


def _under(state: Mapping[str, Tensor], prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


_PARTS: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, Tensor]], nn.Module], Callable[[str], str]], ...] = (
    (("bottom_up.stem.conv1.weight", "fan_align5.weight"), _pyramid, _name_pyramid),
    (("fan_align5.weight",), _neck, _name_neck),
    (("dcpack_L2.weight",), _fuse, _name_fuse),
    (("conv_offset_mask.weight", "weight"), _deformable, _name_deformable),
    (("conv_atten.weight", "conv.weight"), _selection, _name_selection),
)
