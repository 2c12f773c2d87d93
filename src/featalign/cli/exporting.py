"""What the `export` command needs besides :func:`featalign.export.export_model`: data for int8, and its table."""

from __future__ import annotations

from pathlib import Path

from featalign.cli.console import err, out, percent, table
from featalign.data import list_splits, open_dataset
from featalign.errors import ConfigError
from featalign.export import Comparison, Exported, Quantization
from featalign.export.metadata import Size
from featalign.models import Segmentor

_IN_FLOAT32 = (
    'compared in float32; other programs get these numbers with compile_model(…, {"INFERENCE_PRECISION_HINT": "f32"}), '
    "since OpenVINO computes in bfloat16 by default where the processor can"
)


def labelled(data: Path, split: str, model: Segmentor, max_drop: float) -> Quantization:
    """Calibrate on the training images, where there are any, and score on ``split``."""
    if not 0 <= max_drop <= 1:
        raise ConfigError(f"--max-drop is a part of mIoU in 0 … 1 (0.01 is one point of a hundred), got {max_drop:g}")
    calibration = "train" if "train" in list_splits(data) else split
    pictures, labelled = (
        open_dataset(data, name, channels=model.in_channels, depth=model.normalization.depth)
        for name in (calibration, split)
    )
    return Quantization(pictures, labelled, max_drop)


def show(found: Exported, to: str) -> None:
    """How the file compares with the network, size by size, and what 8 bits cost."""
    table(
        [_row(comparison) for comparison in found.comparisons],
        header=("image", "answer", "max difference", "of largest logit", "equal labels", "PyTorch", to, "faster"),
    )
    if found.drop is not None:
        drop = found.drop
        out.print(f"mIoU {percent(drop.network)} in PyTorch, {percent(drop.file)} in int8, on {drop.images} images")
    out.print(f"good: {found.path} gives the network's answers")
    if to == "openvino":
        err.print(f"featalign: {_IN_FLOAT32}")


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
