"""ONNX, opset 20: written by PyTorch's own exporter, run by onnxruntime on the CPU."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from featalign.errors import WeightsError, said
from featalign.export.metadata import KEY, ExportInfo

OPSET = 20


def write(program: ExportedProgram, info: ExportInfo, path: Path) -> None:
    """One file; the weights of a network of more than 2 GB lie beside it."""
    from featalign.export.onnx_rules import RULES  # needs what running a file does not

    names = ["images", "size"] if info.size is None else ["images"]
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its steps
        found = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table=RULES,
            input_names=names,
            output_names=["logits"],
            verbose=False,
        )
    assert found is not None
    found.model.metadata_props[KEY] = info.to_text()
    found.save(path)


class OnnxFile:
    """See :class:`~featalign.export.targets.Runner`."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        text = self.session.get_modelmeta().custom_metadata_map.get(KEY)
        self.info = ExportInfo.from_text(text, source=str(path))

    def run(self, images: NDArray[np.integer], size: NDArray[np.int64] | None) -> NDArray[np.float32]:
        given = {"images": images} if size is None else {"images": images, "size": size}
        return self.session.run(["logits"], given)[0]


def open_file(path: Path) -> OnnxFile:
    """Raises WeightsError."""
    try:
        return OnnxFile(path)
    except WeightsError:
        raise
    except Exception as error:  # onnxruntime has a class of its own for each failure, below RuntimeError or not
        raise WeightsError(f"{path}: onnxruntime cannot open it ({said(error)}); export it again") from error
