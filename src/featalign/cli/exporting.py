"""The work of the `export` command."""

from __future__ import annotations

from pathlib import Path

from featalign.cli.console import err, out, parse_size, percent, progress, table
from featalign.data import list_splits, open_dataset
from featalign.errors import ConfigError
from featalign.export import Comparison, Exported, Quantization, export_model
from featalign.export.metadata import Precision, Size
from featalign.models import Segmentor, load_model
from featalign.models.segmentor import Mode

_IN_FLOAT32 = (
    'compared in float32; other programs get these numbers with compile_model(…, {"INFERENCE_PRECISION_HINT": "f32"}), '
    "since OpenVINO computes in bfloat16 by default where the processor can"
)


def export_run(
    run: Path,
    output: Path,
    *,
    to: str,
    size: str,
    precision: Precision,
    mode: Mode,
    images: Path | None,
    data: Path | None,
    split: str,
    max_drop: float,
) -> None:
    """Export a stored model and show how the file compares with it. Raises FeatalignError."""
    model = load_model(run)
    found = export_model(
        model,
        output,
        to=to,
        size=None if size == "dynamic" else parse_size(size),
        precision=precision,
        mode=mode,
        images=images,
        quantization=None if data is None else _labelled(data, split, model, max_drop),
        progress=progress,
    )
    _show(found, to)
    if images is None:
        err.print("featalign: tried on drawn scenes; --images FOLDER tries it on yours", markup=False)


def _labelled(data: Path, split: str, model: Segmentor, max_drop: float) -> Quantization:
    """Calibrate on the training images, where there are any, and score on ``split``."""
    if not 0 <= max_drop <= 1:
        raise ConfigError(f"--max-drop is a part of mIoU in 0 … 1 (0.01 is one point of a hundred), got {max_drop:g}")
    calibration = "train" if "train" in list_splits(data) else split
    pictures, labelled = (
        open_dataset(data, name, channels=model.in_channels, depth=model.normalization.depth)
        for name in (calibration, split)
    )
    return Quantization(pictures, labelled, max_drop)


def _show(found: Exported, to: str) -> None:
    table(
        [_row(comparison) for comparison in found.comparisons],
        header=("image", "answer", "max difference", "of largest logit", "equal labels", "PyTorch", to, "faster"),
    )
    if found.drop is not None:
        drop = found.drop
        out.print(f"mIoU {percent(drop.network)} in PyTorch, {percent(drop.file)} in int8, on {drop.images} images")
    out.print(f"good: {found.path} gives the network's answers")
    if to == "openvino":
        err.print(f"featalign: {_IN_FLOAT32}", markup=False)


def _row(found: Comparison) -> tuple[str, ...]:
    network, file = found.seconds
    return (
        _size(found.image),
        _size(found.answer),
        f"{found.difference:.2g}",
        f"{found.largest:.2g}",
        f"{100 * found.equal:.3f} %",
        f"{1000 * network:.1f} ms",
        f"{1000 * file:.1f} ms",
        f"{network / file:.2f} x",
    )


def _size(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
