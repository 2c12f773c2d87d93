"""Weights of the published IFA code (github.com/hzhupku/IFA) in the modules of this library.

The architecture is read off the names and shapes, so a checkpoint needs no configuration beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from featalign.align import ImplicitFunction
from featalign.errors import WeightsError
from featalign.models.factory import create_model
from featalign.models.fpn import ImplicitDecoder, Laterals
from featalign.models.storage import filled

State = dict[str, Tensor]
_LEVELS = 4
_DEPTHS = {6: "resnet50s", 23: "resnet101s", 36: "resnet152s"}  # bottlenecks in the third stage


def load_ifa(state: Mapping[str, Tensor]) -> nn.Module | None:
    """A module with published IFA weights, or None where the names are not IFA's.

    Args:
        state: of the whole model (``encoder``, ``decoder``, ``auxor``), of its decoder or of the implicit function.

    Returns:
        A :class:`~featalign.models.fpn.FPN`, an :class:`~featalign.models.fpn.ImplicitDecoder` or an
        :class:`~featalign.align.ImplicitFunction`. A whole model has the published choices set: rounding-up
        max-pooling, multi-grid dilations 2, 2, 4 and resizing with aligned corners.

    Raises:
        WeightsError: if names or shapes do not fit together.
    """
    state = dict(state)
    if any(name.startswith("encoder.") for name in state):
        return _model(state)
    if "enc1.0.weight" in state:
        return _decoder(state)
    return _function(state, level_channels=256) if "imnet.0.weight" in state else None


def _model(state: State) -> nn.Module:
    stage3 = 1 + max((int(m[1]) for n in state if (m := re.match(r"encoder\.layer3\.(\d+)\.", n))), default=-1)
    if stage3 not in _DEPTHS:
        raise WeightsError(f"expected a residual network with {sorted(_DEPTHS)} third-stage blocks, got {stage3}")
    decoder = _under(state, "decoder.")
    auxiliary = _under(state, "auxor.aux.")
    model = create_model(
        "fpn",
        classes=_out_channels(_under(decoder, "ifa.imnet.")),
        backbone=_DEPTHS[stage3],
        width=decoder["enc1.0.weight"].shape[0],
        aspp=decoder["aspp.conv2.0.weight"].shape[0] if "aspp.conv2.0.weight" in decoder else 0,
        auxiliary=bool(auxiliary),
        ceil_pool=True,
        multi_grid=(2, 2, 4),
        align_corners=True,
        **_function_options(_under(decoder, "ifa."), decoder["enc1.0.weight"].shape[0]),
    )
    renamed = {f"backbone.body.{name}": value for name, value in _under(state, "encoder.").items()}
    renamed |= {f"decoder.{name}": value for name, value in _rename_decoder(decoder).items()}
    renamed |= {f"auxiliary.{name}": value for name, value in auxiliary.items()}
    return filled(model, renamed)


def _decoder(state: State) -> nn.Module:
    width = state["enc1.0.weight"].shape[0]
    channels = [state[f"enc{i}.0.weight"].shape[1] for i in (1, 2, 3)]
    aspp = state["aspp.conv2.0.weight"].shape[0] if "aspp.conv2.0.weight" in state else 0
    coarse = state["aspp.conv2.0.weight" if aspp else "head.0.weight"].shape[1]
    function = _empty_function(_under(state, "ifa."), width)
    laterals = Laterals([*channels, coarse], width, aspp=aspp)
    return filled(ImplicitDecoder(laterals, function), _rename_decoder(state))


def _function(state: State, *, level_channels: int) -> nn.Module:
    return filled(_empty_function(state, level_channels), _rename_function(state, level_channels))


def _empty_function(state: State, width: int) -> ImplicitFunction:
    return ImplicitFunction(
        [width] * _LEVELS, _out_channels(_under(state, "imnet.")), **_function_options(state, width)
    )


def _function_options(state: State, width: int) -> dict[str, Any]:
    """Position encoding and hidden widths, from the first layer's fan-in and the MLP's layers."""
    convolutions = _convolutions(_under(state, "imnet."))
    code = convolutions[0].shape[1] // _LEVELS - width
    kind = {0: "none", 2: "coord"}.get(code) or ("learned" if "pos1.emb" in state else "fixed")
    options: dict[str, Any] = {"hidden": tuple(weight.shape[0] for weight in convolutions[:-1]), "encoding": kind}
    return options | ({"dims": code - 2} if code > 2 else {})


def _rename_decoder(state: State) -> State:
    width = state["enc1.0.weight"].shape[0]
    renamed = {f"function.{name}": value for name, value in _rename_function(_under(state, "ifa."), width).items()}
    for level in range(_LEVELS - 1):
        renamed |= {f"laterals.{level}.{n}": v for n, v in _under(state, f"enc{level + 1}.").items()}
    top = f"laterals.{_LEVELS - 1}."
    if "aspp.conv1.1.weight" not in state:
        return renamed | {top + name: value for name, value in _under(state, "head.").items()}
    image = {1: 0, 2: 1}  # the published image branch counts its pooling as layer 0
    for name, value in _under(state, "aspp.conv1.").items():
        layer, rest = name.split(".", 1)
        renamed[f"{top}image.{image[int(layer)]}.{rest}"] = value
    renamed |= {f"{top}point.{name}": value for name, value in _under(state, "aspp.conv2.").items()}
    for branch in range(3):
        renamed |= {f"{top}atrous.{branch}.{n}": v for n, v in _under(state, f"aspp.conv{branch + 3}.").items()}
    return renamed | {f"{top}merge.{name}": value for name, value in _under(state, "head.").items()}


def _rename_function(state: State, width: int) -> State:
    """The first layer's matrix, per level [position, content], is cut into blocks; later layers move up by one."""
    blocks = state["imnet.0.weight"].flatten(1).chunk(_LEVELS, 1)
    code = blocks[0].shape[1] - width
    renamed = {f"content.{level}.weight": block[:, code:, None, None] for level, block in enumerate(blocks)}
    renamed["content.0.bias"] = state["imnet.0.bias"]
    if code:
        renamed["position.weight"] = torch.cat([block[:, :code] for block in blocks], 1)
    for name, value in _under(state, "imnet.").items():
        layer, rest = name.split(".", 1)
        if layer != "0":
            renamed[f"mlp.{int(layer) - 1}.{rest}"] = value[..., None] if value.ndim == 3 else value
    for level in range(_LEVELS):
        if f"pos{level + 1}.emb" in state:
            renamed[f"codes.{level}.frequencies"] = state[f"pos{level + 1}.emb"]
    return renamed


def _convolutions(imnet: State) -> list[Tensor]:
    """The MLP's convolutions in order; normalizations have one-dimensional weights."""
    weights = {int(name.split(".")[0]): value for name, value in imnet.items() if name.endswith(".weight")}
    return [weight for _, weight in sorted(weights.items()) if weight.ndim > 1]


def _out_channels(imnet: State) -> int:
    return _convolutions(imnet)[-1].shape[0]


def _under(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
