"""Weights of the published IFA code (github.com/hzhupku/IFA) in the modules of this library.

The architecture is read off the names and shapes, so a checkpoint needs no configuration beside it. Whole models and
their parts are recognized: the model (``encoder``, ``decoder``, ``auxor``), its decoder, the implicit function alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featalign.align import ImplicitFunction
from featalign.errors import WeightsError
from featalign.models.factory import create_model
from featalign.models.fpn import ImplicitDecoder
from featalign.models.storage import read_safetensors

State = dict[str, Tensor]
_LEVELS = 4
_DEPTHS = {6: "resnet50s", 23: "resnet101s", 36: "resnet152s"}  # bottlenecks in the third stage


def load_published(source: Path | str | Mapping[str, Tensor]) -> nn.Module:
    """A module of this library with published weights, in evaluation mode.

    Args:
        source: a checkpoint file (``.safetensors``, or a ``torch.save`` archive, which is read as weights only), or
            its tensors.

    Returns:
        A :class:`~featalign.models.fpn.FPN`, an :class:`~featalign.models.fpn.ImplicitDecoder` or an
        :class:`~featalign.align.ImplicitFunction`, whichever the weights are of. A whole model has the published
        choices set: rounding-up max-pooling, multi-grid dilations 2, 2, 4 and resizing with aligned corners.

    Raises:
        WeightsError: if the file cannot be read or the weights are of none of these.
    """
    state = _tensors(source)
    if any(name.startswith("encoder.") for name in state):
        module = _model(state)
    elif "enc1.0.weight" in state:
        module = _decoder(state)
    elif "imnet.0.weight" in state:
        module = _function(state, level_channels=256)
    else:
        raise WeightsError(
            f"weights of no published model known here (first names: {', '.join(sorted(state)[:3])}); "
            "expected IFA's encoder/decoder/auxor, its decoder, or its implicit function"
        )
    return module.eval()


def _tensors(source: Path | str | Mapping[str, Tensor]) -> State:
    """The weights alone: unwrapped from a training checkpoint and from data-parallel's prefix."""
    content: Any = source
    if isinstance(source, Path | str):
        path = Path(source)
        content = read_safetensors(path) if path.suffix == ".safetensors" else _read_archive(path)
    content = content.get("model_state", content) if isinstance(content, Mapping) else {}
    state = {name.removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise WeightsError(f"{source if isinstance(source, Path | str) else 'the mapping'}: holds no tensors")
    return state


def _read_archive(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # torch raises many kinds for a damaged or unsafe archive
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: is not an archive of weights alone ({reason})") from error


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
    return _fill(model, renamed)


def _decoder(state: State) -> nn.Module:
    width = state["enc1.0.weight"].shape[0]
    channels = [state[f"enc{i}.0.weight"].shape[1] for i in (1, 2, 3)]
    aspp = state["aspp.conv2.0.weight"].shape[0] if "aspp.conv2.0.weight" in state else 0
    coarse = state["aspp.conv2.0.weight" if aspp else "head.0.weight"].shape[1]
    function = _empty_function(_under(state, "ifa."), width)
    return _fill(
        ImplicitDecoder([*channels, coarse], width=width, aspp=aspp, function=function), _rename_decoder(state)
    )


def _function(state: State, *, level_channels: int) -> nn.Module:
    return _fill(_empty_function(state, level_channels), _rename_function(state, level_channels))


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


def _fill(module: nn.Module, state: State) -> nn.Module:
    """Load strictly: nothing missing, nothing left over."""
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"published weights do not fit: {error}") from error
    return module
