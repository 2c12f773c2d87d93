"""From options to a predictor, and the `predict` command's work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from featalign.cli.console import err, out, parse_size, progress
from featalign.cli.options import parse_bytes, parse_scales
from featalign.data import DEFAULT_MAX_PIXELS
from featalign.errors import ConfigError
from featalign.export.exported import is_exported, load_exported
from featalign.inference import Predictor, collect_images, predict_files
from featalign.inference.cluster import Workers, predict_on_cluster, require_ray
from featalign.inference.image_files import Job
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
    effort: float | None = None,
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
        effort=effort,
        scales=parse_scales(scales),
        flip=flip,
        window=parse_size(window),
        overlap=overlap,
        published=published,
        max_memory=parse_bytes(max_memory),
        max_pixels=max_pixels or DEFAULT_MAX_PIXELS,
    )


Engine = Literal["local", "ray"]


def predict_all(
    build: Callable[[Path], Predictor],
    run: Path,
    sources: list[Path],
    output: Path,
    *,
    size: str | None,
    input_size: str | None,
    box: str | None,
    probabilities: bool,
    margin: int,
    parts: bool | None,
    shard: str | None,
    resume: bool,
    engine: Engine,
    workers: int,
) -> bool:
    """Segment all images by what ``build`` makes of ``run`` and say how many; True if one failed. Raises
    FeatalignError."""
    part = Shard.parse(shard) if shard else None
    _check_engine(engine, workers, part)
    asked, images = build(run), collect_images(sources)
    mine = len(part.of(images) if part else images)
    settings: dict[str, Any] = {
        "size": parse_size(size),
        "input_size": parse_size(input_size),
        "area": Area.parse(box) if box else None,
        "probabilities": probabilities,
        "margin": margin,
        "parts": parts,
        "resume": resume,
    }
    if engine == "ray":
        Job.prepared(asked, output, join=resume, **settings)  # what is wrong with settings or folder is said here
        make = partial(_job, build, run.absolute(), output.absolute(), settings)
        gpus = int(asked.device.type == "cuda")
        failures = predict_on_cluster(make, images, output, workers=Workers(workers, gpus=gpus), progress=progress)
    else:
        failures = predict_files(asked, images, output, shard=part, progress=progress, **settings)
    for reason in failures.values():
        err.print(f"featalign: {reason}", markup=False)
    out.print(f"{mine - len(failures)} of {mine} images written to {output}")
    return bool(failures)


def _check_engine(engine: Engine, workers: int, shard: Shard | None) -> None:
    """Before a model is loaded. Raises ConfigError."""
    if engine == "ray":
        require_ray()
        if shard:
            raise ConfigError("--engine ray shares the images out itself; leave out --shard")
    elif workers > 1:
        raise ConfigError("--workers is for --engine ray; without it, share the images out by --shard i/n")


def _job(build: Callable[[Path], Predictor], run: Path, output: Path, settings: dict[str, Any]) -> Job:
    """One worker's, of the folder that was claimed before."""
    return Job.prepared(build(run), output, join=True, **settings)
