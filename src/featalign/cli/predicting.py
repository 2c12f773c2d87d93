"""From options to a predictor, and the `predict` command's work."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

from featalign.cli.console import conclude, err, parse_size, progress
from featalign.cli.options import parse_bytes, parse_scales
from featalign.data import DEFAULT_MAX_PIXELS
from featalign.errors import ConfigError
from featalign.export.exported import load_network
from featalign.inference import Predictor, collect_images, predict_files
from featalign.inference.cluster import Workers, predict_on_cluster, require_ray
from featalign.inference.image_files import Job
from featalign.inference.listing import Shard
from featalign.inference.predictor import Precision
from featalign.inference.views import Published
from featalign.models import Segmentor
from featalign.models.network import Mode
from featalign.training import load_recipe
from featalign.training.questions import teaches_between_cells
from featalign.training.run_folder import RunFolder


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
    network = load_network(run)
    if mode in ("dense", "adaptive") and isinstance(network, Segmentor):
        _note_untaught(run, network)
    return Predictor(
        network,
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


def _note_untaught(run: Path, network: Segmentor) -> None:
    """Say so where a network is to be asked what its training never asked it."""
    function, file = network.implicit, RunFolder(run).recipe
    if function is None or function.position is None or not file.is_file():
        return
    with suppress(ConfigError):  # of a recipe that cannot be read nothing is known
        if not teaches_between_cells(load_recipe(file).training):
            err.print(
                "note: this run's training.query is grid: its position codes have learnt nothing between the cells of "
                "the finest map, where this mode asks them; auto and resized ask at the cells",
            )


Engine = Literal["local", "ray"]


def predict_all(
    build: Callable[[Path], Predictor],
    run: Path,
    sources: list[Path],
    output: Path,
    settings: dict[str, Any],
    *,
    shard: str | None,
    engine: Engine,
    workers: int,
) -> None:
    """Segment all images by what ``build`` makes of ``run``, and say how many. ``settings``: of :class:`Job`.

    Raises:
        FeatalignError: as :func:`predict_files`, and for options that do not go together.
        typer.Exit: with code 2, if an image failed.
    """
    part = Shard.parse(shard) if shard else None
    _check_engine(engine, workers, part)
    model, images = build(run), collect_images(sources)
    mine = part.of(images) if part else images
    if engine == "ray":
        Job(model, output, **settings).outputs.claim(join=settings["resume"])  # wrong settings or folders are told here
        make = partial(_job, build, run.absolute(), output.absolute(), settings)
        gpus = int(model.device.type == "cuda")
        failures = predict_on_cluster(make, images, output, workers=Workers(workers, gpus=gpus), progress=progress)
    else:
        failures = predict_files(model, images, output, shard=part, progress=progress, **settings)
    conclude(failures, images=len(mine), folder=output)


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
    job = Job(build(run), output, **settings)
    job.outputs.claim(join=True)
    return job
