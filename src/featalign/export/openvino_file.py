"""OpenVINO's intermediate representation, NAME.xml and NAME.bin: converted from the torch program, run on the CPU."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from openvino import opset13 as ops
from openvino.frontend.pytorch import ConversionExtension
from torch.export import ExportedProgram

from featalign.errors import WeightsError, said
from featalign.export.metadata import KEY, ExportInfo


def write(program: ExportedProgram, info: ExportInfo, path: Path) -> None:
    """Two files, ``path`` and its weights beside it with the suffix .bin."""
    model = openvino.convert_model(program, extension=_extensions())
    model.outputs[0].set_names({"logits"})
    model.set_rt_info(info.to_text(), [KEY])
    openvino.save_model(model, path, compress_to_fp16=info.precision == "fp16")


class OpenVINOFile:
    """See :class:`~featalign.export.targets.Runner`. Computes in float32 unless the file was exported otherwise."""

    def __init__(self, path: Path) -> None:
        core = openvino.Core()
        model = core.read_model(path)
        text = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
        self.info = ExportInfo.from_text(text, source=str(path))
        hints = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
        self.compiled = core.compile_model(model, "CPU", hints)

    def run(self, images: NDArray[np.integer], size: NDArray[np.int64] | None) -> NDArray[np.float32]:
        given = {"images": images} if size is None else {"images": images, "size": size}
        return np.array(self.compiled(given)[0])


def open_file(path: Path) -> OpenVINOFile:
    """Raises WeightsError."""
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise WeightsError(f"{path}: its weights {weights.name} are not beside it; copy both files, or export it again")
    try:
        return OpenVINOFile(path)
    except RuntimeError as error:
        raise WeightsError(f"{path}: OpenVINO cannot open it ({said(error)}); export it again") from error


def _extensions() -> list[Any]:
    """Arithmetic of sizes that OpenVINO's reader of torch programs does not know, or rounds towards zero."""
    rules: dict[Any, Callable[[Any, Any], Any]] = {
        operator.truediv: lambda a, b: ops.divide(ops.convert(a, "f32"), ops.convert(b, "f32")),
        operator.mod: ops.floor_mod,
        operator.floordiv: lambda a, b: ops.divide(ops.subtract(a, ops.floor_mod(a, b)), b),
        operator.pow: ops.power,
        torch.sym_max: ops.maximum,
        torch.sym_min: ops.minimum,
    }
    return [ConversionExtension(str(function), _rule(rule)) for function, rule in rules.items()]


def _rule(build: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    return lambda context: build(context.get_input(0), context.get_input(1)).outputs()
