"""A run at work: `predict`, `explain` and `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from featalign.cli.console import parse_size
from featalign.cli.options import (
    Device,
    Effort,
    Flip,
    InputSize,
    MaxMemory,
    MaxPixels,
    Mode,
    Overlap,
    Precision,
    Published,
    Scales,
    Set,
    ShardOf,
    Window,
)
from featalign.errors import ConfigError

_OF_OBJECTS = {"run", "images", "image", "output", "threshold", "device", "max_pixels", "shard", "resume"}
"""Options that mean something to networks that find objects."""


def predict(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="A training run or a model folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    output: Annotated[Path, typer.Option("--out", metavar="DIR", help="Gets labels/, overlays/, probabilities/.")],
    size: Annotated[str | None, typer.Option(metavar="HxW", help="Size of the answer; default the image's.")] = None,
    box: Annotated[
        str | None, typer.Option(metavar="L,T,R,B", help="Only this part, in [0, 1] of the image or in its pixels.")
    ] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write NAME.npz.")] = False,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of detectors: least score of an object; default 0.5.")
    ] = None,
    mode: Mode = "auto",
    effort: Effort = None,
    scales: Scales = "1",
    flip: Flip = False,
    window: Window = None,
    overlap: Overlap = 1 / 3,
    published: Published = None,
    input_size: InputSize = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    max_memory: MaxMemory = None,
    max_pixels: MaxPixels = None,
    parts: Annotated[
        bool | None,
        typer.Option(
            "--parts/--no-parts", help="See images in parts, or whole; default parts for GeoTIFFs and huge TIFFs."
        ),
    ] = None,
    margin: Annotated[int, typer.Option(min=0, help="Pixels that a window shows around the part it answers.")] = 128,
    shard: ShardOf = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out images whose files are complete, and finished parts.")
    ] = False,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="This process, or processes of a Ray cluster.")
    ] = "local",
    workers: Annotated[int, typer.Option(min=1, help="With --engine ray: processes that each hold a model.")] = 1,
) -> None:
    """Segment images: a palette PNG of class ids and an overlay with a legend for each.

    A GeoTIFF, or a TIFF too large to be seen whole, is answered by a GeoTIFF, in memory that does not grow with it.
    Detectors and panoptic networks write JSON in COCO's form, and overlays of boxes, masks and segments.
    """
    from functools import partial

    from featalign.cli import objects

    if objects.finds_objects(run):
        objects.require_options(context, run, known=_OF_OBJECTS)
        return objects.predict_objects(
            run,
            images,
            output,
            threshold=threshold,
            device=device,
            max_pixels=max_pixels,
            shard=shard,
            resume=resume,
        )
    if threshold is not None:
        raise ConfigError(f"{run} labels every pixel; --threshold is for networks that find objects, leave it out")

    from featalign.cli.predicting import predict_all, predictor
    from featalign.inference.regions import Area

    build = partial(
        predictor,
        device=device,
        precision=precision,
        mode=mode,
        effort=effort,
        scales=scales,
        flip=flip,
        window=window,
        overlap=overlap,
        published=published,
        max_memory=max_memory,
        max_pixels=max_pixels,
    )
    settings = {
        "size": parse_size(size),
        "input_size": parse_size(input_size),
        "area": Area.parse(box) if box else None,
        "probabilities": probabilities,
        "margin": margin,
        "parts": parts,
        "resume": resume,
    }
    predict_all(build, run, images, output, settings, shard=shard, engine=engine, workers=workers)


def explain(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="A training run or a model folder.")],
    image: Annotated[Path, typer.Argument(help="An image file.")],
    output: Annotated[Path, typer.Option("--out", metavar="DIR", help="Gets one PNG per step of alignment.")],
    mode: Mode = "auto",
    input_size: InputSize = None,
    device: Device = "auto",
    max_pixels: MaxPixels = None,
) -> None:
    """Draw how a model aligns an image: offset fields, feature maps before and after, and an overview."""
    from featalign.cli import objects

    if objects.finds_objects(run):
        objects.require_options(context, run, known=_OF_OBJECTS)
        return objects.explain_objects(run, image, output, device=device, max_pixels=max_pixels)
    from featalign.cli.explaining import write_pictures
    from featalign.cli.predicting import predictor
    from featalign.inference import explain as explained

    model = predictor(run, device=device, precision="fp32", mode=mode, max_pixels=max_pixels)
    explanation = explained(model, image, input_size=parse_size(input_size))
    write_pictures(
        explanation,
        output,
        without_fields="this model predicts no offset field: its levels are aligned without one; see its feature maps",
    )


def serve(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN…", help="Training runs or model folders; NAME=RUN names one.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000,
    page: Annotated[bool, typer.Option("--demo", help="Also serve a page to try the models in a browser.")] = False,
    token: Annotated[
        str | None, typer.Option(envvar="FEATALIGN_TOKEN", help="What clients must send: Authorization: Bearer TOKEN.")
    ] = None,
    names: Annotated[
        list[str], typer.Option("--allow-host", metavar="NAME", help="Name clients call this machine by; repeatable.")
    ] = [],  # noqa: B006 - Typer copies it
    overrides: Set = [],  # noqa: B006 - Typer copies it
    mode: Mode = "auto",
    effort: Effort = None,
    window: Window = None,
    overlap: Overlap = 1 / 3,
    device: Device = "auto",
    precision: Precision = "fp32",
    max_memory: MaxMemory = None,
) -> None:
    """Answer over HTTP: images to labels, overlays, polygons and objects, points to classes. /docs says how.

    --set changes a limit (max_pixels, queue, batch, timeout, …; docs/serving.md lists them).
    """
    from featalign.cli.serving import listen, make_settings, named_runs, require_packages, run_service

    require_packages(page=page)
    from featalign.cli.objects import finds_objects
    from featalign.cli.predicting import predictor
    from featalign.models import load_detector

    settings = make_settings(host, token=token, hosts=names, overrides=overrides)
    folders, listening = named_runs(runs), listen(host, port)
    detectors = {name: load_detector(run) for name, run in folders.items() if finds_objects(run)}
    if page and len(detectors) == len(folders):
        raise ConfigError("--demo: the page shows models that label pixels, and none of these does; leave it out")
    models = {
        name: predictor(
            run,
            device=device,
            precision=precision,
            mode=mode,
            effort=effort,
            window=window,
            overlap=overlap,
            max_memory=max_memory,
            max_pixels=settings.max_pixels,
        )
        for name, run in folders.items()
        if name not in detectors
    }
    run_service(models, settings, listening, detectors=detectors, device=device, page=page, host=host)
