"""From a network to a file that has proved to give its answers."""

from __future__ import annotations

import copy
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from featalign.data import Progress, silent
from featalign.errors import ConfigError, ExportError, FeatalignError, said
from featalign.export.exported import ExportedModel, load_exported
from featalign.export.graph import ExportGraph, trace
from featalign.export.metadata import ExportInfo, Precision, Size
from featalign.export.quantize import Drop, Quantization, judge_drop, measure_drop, quantize, require_nncf
from featalign.export.targets import Target, target_named
from featalign.export.verify import Comparison, compare, judge
from featalign.files import why
from featalign.inference.trial_images import trial_images
from featalign.models import Segmentor
from featalign.models.network import Mode
from featalign.version import __version__

_LEAST = 65  # rows and columns of a trial: two cells and a bit of the coarsest map


@dataclass(frozen=True)
class Exported:
    """A file that was found good: how it compared at each size, and for int8 what it costs in mIoU."""

    path: Path
    comparisons: tuple[Comparison, ...]
    drop: Drop | None


def export_model(
    model: Segmentor,
    path: Path | str,
    *,
    to: str,
    size: Size | None = None,
    precision: Precision = "fp32",
    mode: Mode = "auto",
    images: Path | None = None,
    quantization: Quantization | None = None,
    progress: Progress = silent,
) -> Exported:
    """Write ``model`` as a file that needs neither this library nor, but for ``torch``, PyTorch; then compare the two.

    The graph takes pixels ``images`` (B, C, H, W), uint8 (int32 for a network of 16-bit images), normalizes them
    itself and gives ``logits`` (B, K, h, w). Without a fixed size, (h, w) is its second input, ``size``, int64 (2,).
    Classes, colours, normalization and the network's configuration are in the file's metadata.

    Args:
        model: any network of this library, in its present state.
        path: the file; its suffix is the target's: .onnx, .xml (OpenVINO; the weights lie beside it as .bin), .pt2.
        to: ``onnx``, ``openvino`` or ``torch``.
        size: (height, width) of every image and answer, one image at a time; None for any, and any batch.
        precision: ``fp16`` stores weights in half precision and computes in it where the runtime can; ``int8`` needs
            ``quantization``.
        mode: how the answer is brought to its size, see :meth:`featalign.models.Segmentor.decode`.
        images: a folder, whose first two images the file is tried on; drawn scenes by default.
        quantization: for ``int8``: what to calibrate and to score on.
        progress: shows how far the scoring is.

    Raises:
        ConfigError: for options that do not go together, or a package that is missing.
        ExportError: if the network cannot be exported so, or the file's answers differ; nothing is left behind then.
    """
    path, target = Path(path), target_named(to)
    mode = model.auto_mode if mode == "auto" else mode
    _check(path, target, precision, mode, quantization)
    model = copy.deepcopy(model).cpu().eval()  # whose it is may go on training it, on another device
    info = _info(model, size, precision, mode)
    # Before the file, which can take minutes.
    tried = trial_images(images, channels=info.in_channels, normalization=info.normalization)
    pixels = [image.to(getattr(torch, info.pixels)) for image in tried]
    with _beside(path) as draft:
        with _refusing(model, info, target):
            _write(model, info, target, draft)
        if quantization is not None:
            quantize(draft, target.name, info, quantization.calibration)
        exported = load_exported(draft)
        with _refusing(model, info, target):
            comparisons = _compared(model, exported, pixels)
        drop = None if quantization is None else _judged(model, exported, quantization, progress)
    return Exported(path, comparisons, drop)


def _check(path: Path, target: Target, precision: Precision, mode: Mode, quantization: Quantization | None) -> None:
    if precision == "int8":
        require_nncf(target.name)  # first, because its extra brings the target's packages, too
    target.require(writing=True)
    if path.suffix.lower() != target.suffix:
        raise ConfigError(f"{path}: a file for {target.name} must end in {target.suffix}")
    if mode == "adaptive":
        raise ConfigError(
            'mode "adaptive", that of networks with a point head, decides by what it sees; no fixed graph can: '
            "set mode to dense or resized"
        )
    if precision == "int8" and quantization is None:
        raise ConfigError("int8 needs a labelled folder to calibrate and to score on (--data)")
    if precision != "int8" and quantization is not None:
        raise ConfigError(f"{precision} needs no labelled folder; --data goes with --precision int8")


def _info(model: Segmentor, size: Size | None, precision: Precision, mode: Mode) -> ExportInfo:
    return ExportInfo(
        classes=model.classes,
        in_channels=model.in_channels,
        normalization=model.normalization,
        mode=mode,
        precision=precision,
        size=size,
        model={**model.config, "pretrained": False} if model.config else {},
        version=__version__,
    )


def _write(model: Segmentor, info: ExportInfo, target: Target, path: Path) -> None:
    # OpenVINO keeps weights in half precision by itself; its devices choose what to compute in.
    half = info.precision == "fp16" and target.name != "openvino"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters, about themselves
        target.write(trace(ExportGraph(model, mode=info.mode, half=half, size=info.size), info), info, path)


@contextmanager
def _refusing(model: Segmentor, info: ExportInfo, target: Target) -> Iterator[None]:
    """Whatever goes wrong in writing a file, or in running it, becomes an ExportError of one line."""
    try:
        yield
    except (ExportError, MemoryError):
        raise
    except Exception as error:  # exporters raise anything from AssertionError to classes of their own
        raise ExportError(_why(error, model, info, target)) from error


def _why(error: Exception, model: Segmentor, info: ExportInfo, target: Target) -> str:
    name = model.config.get("name", type(model).__name__)
    size = "dynamic size" if info.size is None else "x".join(map(str, info.size))
    advice = (
        "try a fixed one (--size HEIGHTxWIDTH), or another target"
        if info.size is None
        else "try another size or target"
    )
    return f"{name} cannot be exported to {target.name} with {size} ({said(error)}); {advice}"


def _compared(model: Segmentor, exported: ExportedModel, pixels: Sequence[Tensor]) -> tuple[Comparison, ...]:
    """At each size that is tried. Raises ExportError if the answers differ."""
    comparisons = []
    for sizes in _sizes(exported.info):
        comparisons.append(compare(model, exported, pixels, sizes=sizes))
        judge(comparisons[-1], exported.info.precision)
    return tuple(comparisons)


def _judged(model: Segmentor, exported: ExportedModel, quantization: Quantization, progress: Progress) -> Drop:
    """What 8 bits cost. Raises ExportError if that is more than allowed."""
    drop = measure_drop(model, exported, quantization.labelled, progress)
    judge_drop(drop, quantization.max_drop)
    return drop


def _sizes(info: ExportInfo) -> list[Callable[[Size], tuple[Size, Size]]]:
    """How input and answer follow from an image's size: as they are; and a smaller, odd input asked at the image's."""
    fixed = info.size
    if fixed is not None:
        return [lambda own: (fixed, fixed)]
    return [lambda own: (own, own), lambda own: (_smaller(own), own)]


def _smaller(size: Size) -> Size:
    height, width = (max(_LEAST, side * 5 // 8 | 1) for side in size)
    return height, width


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """The name of ``path`` in a folder beside it, from which all files move into place if the block succeeds."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=path.parent))
    except OSError as error:
        raise FeatalignError(f"{path}: cannot be written ({why(error)})") from error
    try:
        yield folder / path.name
        try:
            for written in sorted(folder.iterdir(), key=lambda file: file.name == path.name):  # the main file last
                written.replace(path.parent / written.name)
        except OSError as error:
            raise FeatalignError(f"{path}: cannot be written ({why(error)})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
