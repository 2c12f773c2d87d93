"""Weights and activations in 8 bits, by NNCF; and what that costs in mIoU, which alone can say whether it will do."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featalign.data import Progress, Samples
from featalign.errors import ConfigError, ExportError
from featalign.export.exported import ExportedModel
from featalign.export.metadata import KEY, ExportInfo
from featalign.inference import Predictor, evaluate
from featalign.inference.evaluation import LabelledSamples
from featalign.inference.trial_images import resized
from featalign.models import Segmentor

CALIBRATION = 100  # images at most


@dataclass(frozen=True)
class Quantization:
    """What int8 needs: images to find the range of every activation on, and labelled ones to score on.

    ``max_drop``: of mIoU, in [0, 1], beyond which the file is refused.
    """

    calibration: Samples
    labelled: LabelledSamples
    max_drop: float = 0.01


@dataclass(frozen=True)
class Drop:
    """mIoU of the network and of the quantized file on the same images, in [0, 1]."""

    network: float
    file: float
    images: int


def require_nncf(target: str) -> None:
    """Raises ConfigError where int8 cannot be had."""
    if target == "torch":
        raise ConfigError("int8 is for onnx and openvino; a torch program stays in fp32 or fp16")
    if find_spec("nncf") is None:
        raise ConfigError("int8 needs nncf: pip install 'featalign[int8]'")


def quantize(path: Path, target: str, info: ExportInfo, samples: Samples) -> None:
    """Replace the fp32 file by its int8 form."""
    import nncf

    def inputs(index: int) -> dict[str, Any]:
        return _inputs(samples, index, info)

    count = min(len(samples), CALIBRATION)
    order = np.linspace(0, len(samples) - 1, count).round().astype(int).tolist()
    data = nncf.Dataset(order, inputs)
    nncf.set_log_level(logging.ERROR)
    if target == "onnx":
        _quantize_onnx(path, info, data, count)
    else:
        _quantize_openvino(path, info, data, count)


def measure_drop(model: Segmentor, exported: ExportedModel, samples: LabelledSamples, progress: Progress) -> Drop:
    """mIoU of both over every labelled pixel."""
    network, file = (
        evaluate(
            Predictor(asked, device="cpu", mode=exported.info.mode),
            samples,
            boundary_widths=(),
            input_size=exported.info.size,
            progress=progress,
        ).scores.miou
        for asked in (model, exported)
    )
    return Drop(network, file, len(samples))


def judge_drop(drop: Drop, max_drop: float) -> None:
    """Raises ExportError if int8 costs more than it may."""
    if not drop.network - drop.file <= max_drop:
        raise ExportError(
            f"int8 costs too much: mIoU {100 * drop.file:.2f} against {100 * drop.network:.2f} on {drop.images} "
            f"images, {100 * (drop.network - drop.file):.2f} less where {100 * max_drop:g} are allowed "
            f"(--max-drop {max_drop:g}); nothing was written"
        )


def _inputs(samples: Samples, index: int, info: ExportInfo) -> dict[str, Any]:
    image = torch.as_tensor(samples[index]["image"])
    if info.size is not None and tuple(image.shape[-2:]) != info.size:
        image = resized(image[None], info.size)[0]
    pixels = image[None].to(getattr(torch, info.pixels)).numpy()
    return {"images": pixels} | ({} if info.size else {"size": np.array(image.shape[-2:], np.int64)})


def _quantize_onnx(path: Path, info: ExportInfo, data: Any, count: int) -> None:
    import nncf
    import onnx

    model = nncf.quantize(onnx.load(path), data, subset_size=count)
    entry = next((entry for entry in model.metadata_props if entry.key == KEY), None) or model.metadata_props.add()
    entry.key, entry.value = KEY, info.to_text()
    onnx.save(model, path)


def _quantize_openvino(path: Path, info: ExportInfo, data: Any, count: int) -> None:
    import nncf
    import openvino

    model = nncf.quantize(openvino.Core().read_model(path), data, subset_size=count)
    model.set_rt_info(info.to_text(), [KEY])
    written = path.with_name(f"int8.{path.name}")  # the weights beside the first file are mapped into memory
    openvino.save_model(model, written, compress_to_fp16=False)
    del model
    for suffix in (".bin", path.suffix):
        written.with_suffix(suffix).replace(path.with_suffix(suffix))
