"""Weights of the published SFNet code (github.com/lxtGH/SFSegNets) in the modules of this library."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from featalign.align.sfnet import AlignedModule, AlignedModuleV2, SFNetHead
from featalign.context.psp import PyramidPooling
from featalign.errors import WeightsError
from featalign.models.storage import filled

State = dict[str, Tensor]
_ALIGNED = {
    "down_h": "project_coarse",
    "down_l": "project_fine",
    "flow_make": "predict",
    "flow_gate.0": "gate",
}
_HEAD = (
    (r"ppm\.stages\.(\d+)\.1\.", r"context.branches.\1.0."),  # the published stages count their pooling as layer 0
    (r"ppm\.stages\.(\d+)\.2\.", r"context.branches.\1.1."),
    (r"ppm\.bottleneck\.", "context.merge."),
    (r"fpn_in\.(\d+)\.", r"fuses.\1.lateral."),
    (r"fpn_out\.(\d+)\.0\.", r"smooth.\1."),
    (r"dsn\.", "auxiliary."),
    (r"conv_last\.0\.(\d)\.", r"classify.\1."),
    (r"conv_last\.1\.", "classify.3."),
)


def load_sfnet(state: Mapping[str, Tensor]) -> nn.Module | None:
    """A module with published SFNet weights, or None where the names are not SFNet's.

    Args:
        state: of the published UperNetAlignHead (without a prefix), AlignedModule, AlignedModulev2 or
            AlignedModulev2PoolingAtten; which of them, and its sizes, is read off the names and shapes.

    Raises:
        WeightsError: if names or shapes do not fit together.
    """
    if "flow_make.weight" in state:
        return filled(_aligned(state), {_rename_aligned(name): value for name, value in state.items()})
    if "fpn_out_align.0.flow_make.weight" in state:
        return filled(_head(state), {_rename_head(name): value for name, value in state.items()})
    return None


def _aligned(state: Mapping[str, Tensor]) -> nn.Module:
    inner, width = _shape(state, "down_h.weight")[:2]
    gate = state.get("flow_gate.0.weight")
    if gate is None:
        return AlignedModule(width, inner)
    return AlignedModuleV2(width, inner, gate="features" if gate.shape[1] == 2 * inner else "pooling")


def _head(state: Mapping[str, Tensor]) -> nn.Module:
    levels = len({name.split(".")[1] for name in state if name.startswith("fpn_in.")})
    fine = [_shape(state, f"fpn_in.{level}.0.weight")[1] for level in range(levels)]
    inner, coarse = _shape(state, "ppm.stages.0.1.weight")[:2]
    width = _shape(state, "ppm.bottleneck.0.weight")[0]
    context = PyramidPooling(coarse, width, inner=inner, kernel=1, activation=False, align_corners=True)
    classes = _shape(state, "conv_last.1.weight")[0]
    auxiliary = any(name.startswith("dsn.") for name in state)
    return SFNetHead([*fine, coarse], classes, context=context, width=width, auxiliary=auxiliary)


def _rename_aligned(name: str) -> str:
    stem, _, rest = name.rpartition(".")
    return f"{_ALIGNED.get(stem, stem)}.{rest}"


def _rename_head(name: str) -> str:
    aligned = re.fullmatch(r"fpn_out_align\.(\d+)\.(.+)", name)
    if aligned:
        return f"fuses.{aligned[1]}.aligned.{_rename_aligned(aligned[2])}"
    for pattern, ours in _HEAD:
        renamed, changes = re.subn(f"^{pattern}", ours, name)
        if changes:
            return renamed
    return name


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in state:
        raise WeightsError(f'published SFNet weights lack "{name}"')
    return tuple(state[name].shape)
