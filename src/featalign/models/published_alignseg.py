"""Weights of the published AlignSeg code (github.com/speedinghzl/AlignSeg) in the modules of this library.

The architecture is read off names and shapes. The published normalization fuses its activation and scales by
``|weight| + eps``; here that scale becomes the weight of a plain batch normalization, with the same output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from featalign.align.alignseg import AlignFA, ResidualConvBlock, norm_leaky
from featalign.backbones import Pyramid
from featalign.context.aligncm import AlignCM
from featalign.errors import WeightsError
from featalign.models.alignseg import AlignSeg, alignseg
from featalign.models.storage import filled
from featalign.ops.warp import Sampling
from featalign.spec import Classes, Normalization

State = dict[str, Tensor]
Prefixes = dict[str, str]

_BACKBONES = {(3, 4, 6, 3): "resnet50s", (3, 4, 23, 3): "resnet101s", (3, 8, 36, 3): "resnet152s"}
_CAFFE_BGR = Normalization((104.00698793 / 255, 116.66876762 / 255, 122.67891434 / 255), (1 / 255,))
_NORM = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def load_alignseg(state: Mapping[str, Tensor], *, sampling: Sampling = "corrected") -> nn.Module | None:
    """A module of this library with published AlignSeg weights, or None if the names are of another family.

    Recognized are the whole network (:class:`~featalign.models.alignseg.AlignSeg`) and its parts: CAB
    (:class:`~featalign.align.alignseg.AlignFA`), CAM (:class:`~featalign.context.aligncm.AlignCM`), RRB
    (:class:`~featalign.align.alignseg.ResidualConvBlock`) and a single InPlaceABN (batch norm and leaky ReLU).

    The published networks read BGR images; the whole network's ``normalization`` has their means in that order. A
    backbone whose depth has no name comes without ``config``: it can be used, but not stored as a model folder.

    Args:
        state: tensors by published name.
        sampling: convention of the offsets that the weights were trained with, which no name tells, see
            :func:`~featalign.ops.warp.warp`. Weights released in 2021 are of ``initial`` (which is ``head`` on square
            crops); ``corrected`` is for weights trained since with the authors' correction.

    Raises:
        WeightsError: if the names are AlignSeg's, but some are missing, left over or of another shape.
        ConfigError: for an unknown sampling.
    """
    state = plain_norms(state)
    if "CAM.pool.1.weight" in state:
        return _network(state, sampling)
    if "delta_gen1.0.weight" in state:
        align = AlignFA(state["delta_gen1.0.weight"].shape[0], sampling=sampling)
        return filled(align, _rename(state, _ALIGN_FA))
    if "delta_gen.0.weight" in state and "pool.3.weight" in state:
        width, channels = state["pool.3.weight"].shape[:2]
        return filled(AlignCM(channels, width, sampling=sampling), _rename(state, _ALIGN_CM))
    if "unify.weight" in state:
        width, channels = state["unify.weight"].shape[:2]
        return filled(ResidualConvBlock(channels, width), _rename(state, _RESIDUAL))
    if state.keys() == _NORM:
        return filled(norm_leaky(len(state["weight"])), {f"0.{name}": value for name, value in state.items()})
    return None


def plain_norms(state: Mapping[str, Tensor], *, eps: float = 1e-5) -> State:
    """InPlaceABN weights as batch normalization's: ``|weight| + eps``, with the ``eps`` of the normalization itself."""
    return {
        name: value.abs() + eps if name.removesuffix("weight") + "running_mean" in state else value
        for name, value in state.items()
    }


def _network(state: State, sampling: Sampling) -> AlignSeg:
    blocks = tuple(_blocks(state, stage) for stage in (1, 2, 3, 4))
    options: dict[str, Any] = {
        "backbone": _backbone(blocks),
        "in_channels": state["conv1.weight"].shape[1],
        "width": state["CAM.pool.3.weight"].shape[0],
        "sampling": sampling,
        "auxiliary": "dsn.0.weight" in state,
        "align_corners": True,
        "ceil_pool": True,
    }
    model = alignseg(Classes.numbered(state["head.3.weight"].shape[0]), **options)
    if blocks in _BACKBONES:
        model.config = {"name": "alignseg", **options}
    else:
        _cut(model.backbone, blocks)
    if model.in_channels == 3:
        model.normalization = _CAFFE_BGR
    filled(model, _rename(state, _NETWORK))
    return model


def _blocks(state: State, stage: int) -> int:
    found = (re.match(rf"layer{stage}\.(\d+)\.", name) for name in state)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _backbone(blocks: tuple[int, ...]) -> str:
    """The shallowest network that has as many blocks in every stage."""
    for depth, name in _BACKBONES.items():
        if all(there >= needed > 0 for there, needed in zip(depth, blocks, strict=True)):
            return name
    raise WeightsError(f"expected a residual network of at most {max(_BACKBONES)} blocks per stage, got {blocks}")


def _cut(backbone: Pyramid, blocks: tuple[int, ...]) -> None:
    """Keep the first blocks of every stage."""
    for stage, count in enumerate(blocks, start=1):
        layer = f"layer{stage}"
        setattr(backbone.body, layer, getattr(backbone.body, layer)[:count])


def _within(published: str, ours: str, inner: Prefixes) -> Prefixes:
    return {published + old: ours + new for old, new in inner.items()}


# Published prefixes and ours. A fused activation has no number of its own in the published sequences, so what follows
# a norm moves up by one.
_OFFSET = {"0.": "0.", "1.": "1.", "2.": "3."}
_HEAD = {"0.": "0.", "1.": "1.", "3.": "4."}
_ALIGN_FA = _within("delta_gen1.", "coarse_offset.", _OFFSET) | _within("delta_gen2.", "fine_offset.", _OFFSET)
_RESIDUAL = {
    "unify.": "unify.",
    "residual.0.": "residual.0.",
    "residual.1.": "residual.1.",
    "residual.2.": "residual.3.",
    "norm.": "norm.0.",
}
_ALIGN_CM = (
    _within("pool.", "context.", {"1.": "1.", "2.": "2.", "3.": "4.", "4.": "5."})
    | _within("adapt.", "local.", {"0.": "0.", "1.": "1.", "2.": "3.", "3.": "4."})
    | _within("delta_gen.", "offset.", _OFFSET)
)
_STEM = {"conv1.": "conv1.0.", "bn1.": "conv1.1.", "conv2.": "conv1.3.", "bn2.": "conv1.4."}
_STEM |= {"conv3.": "conv1.6.", "bn3.": "bn1."}
_NETWORK = _within("", "backbone.body.", _STEM | {f"layer{stage}.": f"layer{stage}." for stage in (1, 2, 3, 4)})
_NETWORK |= _within("CAM.", "context.", _ALIGN_CM)
_NETWORK |= _within("head.", "head.", _HEAD) | _within("dsn.", "auxiliary.", _HEAD)
for _level in range(5):  # published blocks count from the stride-4 map as 1
    _NETWORK |= _within(f"RRB{_level + 1}a.", f"pathway.enter.{_level}.", _RESIDUAL)
for _junction in range(4):
    _NETWORK |= _within(f"CAB{_junction + 2}.", f"pathway.fuses.{_junction}.", _ALIGN_FA)
    _NETWORK |= _within(f"RRB{_junction + 2}b.", f"pathway.refine.{_junction}.", _RESIDUAL)


def _rename(state: State, prefixes: Prefixes) -> State:
    """Names without a rule stay, to be reported as left over."""
    renamed = {}
    for name, value in state.items():
        old = next((prefix for prefix in prefixes if name.startswith(prefix)), "")
        renamed[prefixes.get(old, "") + name.removeprefix(old)] = value
    return renamed
