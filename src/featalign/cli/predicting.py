"""From options to a predictor, and the `predict` command's work."""

from __future__ import annotations

from pathlib import Path

from featalign.cli.console import err, out, parse_size, progress
from featalign.cli.options import parse_bytes, parse_scales
from featalign.data import DEFAULT_MAX_PIXELS
from featalign.export.exported import is_exported, load_exported
from featalign.inference import Predictor, collect_images, predict_files
from featalign.inference.listing import Shard
from featalign.inference.predictor import Precision
from featalign.inference.regions import Area
from featalign.inference.views import Published
from featalign.models import load_model
from featalign.models.segmentor import Mode


def predictor(
    run: Path,
    *,
    device: str,
    precision: Precision,
    mode: Mode,
    scales: str = "1",
    flip: bool = False,
    window: str | None = None,
    overlap: float = 1 / 3,
    published: Published | None = None,
    max_memory: str | None = None,
    max_pixels: int | None,
) -> Predictor:
    """The predictor that a command's options describe. Raises ConfigError or WeightsError."""
    return Predictor(
        load_exported(run) if is_exported(run) else load_model(run),
        device=device,
        precision=precision,
        mode=mode,
        scales=parse_scales(scales),
        flip=flip,
        window=parse_size(window),
        overlap=overlap,
        published=published,
        max_memory=parse_bytes(max_memory),
        max_pixels=max_pixels or DEFAULT_MAX_PIXELS,
    )


def predict_all(
    asked: Predictor,
    sources: list[Path],
    output: Path,
    *,
    size: str | None,
    input_size: str | None,
    box: str | None,
    probabilities: bool,
    shard: str | None,
    resume: bool,
) -> bool:
    """Segment all images and say how many; True if one failed. Raises FeatalignError."""
    images = collect_images(sources)
    part = Shard.parse(shard) if shard else None
    mine = len(part.of(images) if part else images)
    failures = predict_files(
        asked,
        images,
        output,
        size=parse_size(size),
        input_size=parse_size(input_size),
        area=Area.parse(box) if box else None,
        probabilities=probabilities,
        shard=part,
        resume=resume,
        progress=progress,
    )
    for reason in failures.values():
        err.print(f"featalign: {reason}", markup=False)
    out.print(f"{mine - len(failures)} of {mine} images written to {output}")
    return bool(failures)
