"""What a run is worth: `eval`, `compare` and `merge-scores`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from featalign.cli.options import (
    Device,
    Effort,
    Flip,
    InputSize,
    Json,
    LayoutOptions,
    MaxMemory,
    MaxPixels,
    Mode,
    ModeOrNone,
    Overlap,
    OverlapOrNone,
    Precision,
    Published,
    Scales,
    ScalesOrNone,
    ShardOf,
    Window,
)


def evaluate(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="A training run or a model folder.")],
    data: Annotated[Path, typer.Option(help="Data set: a folder or a zip file.")],
    split: Annotated[str | None, typer.Option(help="Which split; default as in the run's recipe, or test.")] = None,
    layout: Annotated[str | None, typer.Option(help="How the data set lies on disk; auto looks.")] = None,
    layout_options: LayoutOptions = [],  # noqa: B006 - Typer copies it
    boundary: Annotated[
        str | None, typer.Option(help="Widths of boundary bands in pixels, comma-separated; default 3,5,8,12.")
    ] = None,
    metrics: Annotated[str, typer.Option(help="Further ones: boundary_iou,boundary_f.")] = "",
    mode: ModeOrNone = None,
    effort: Effort = None,
    scales: ScalesOrNone = None,
    flip: Annotated[bool | None, typer.Option("--flip/--no-flip", help="Also see the mirror image.")] = None,
    window: Window = None,
    overlap: OverlapOrNone = None,
    published: Published = None,
    input_size: InputSize = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    max_memory: MaxMemory = None,
    max_pixels: MaxPixels = None,
    on_error: Annotated[
        Literal["stop", "skip"], typer.Option(help="At an image that cannot be read: stop, or skip and count it.")
    ] = "stop",
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images ahead.")] = 0,
    shard: ShardOf = None,
    json: Json = None,
    output: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Gets metrics.json and report.html, with pictures.")
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="Images to show: this many of the worst and of the best.")] = 6,
) -> None:
    """Score a model on every labelled pixel of a split, at the masks' own resolution.

    A training run is tested as its recipe says where no option says otherwise.
    Several processes share the work under torchrun, or by --shard i/n --json FILE and `featalign merge-scores`.
    Detectors are scored by average precision, panoptic networks by panoptic quality.
    """
    from featalign.cli import objects
    from featalign.cli.protocol import note_unfinished, protocol

    note_unfinished(run)
    if objects.finds_objects(run):
        objects.require_options(context, run, known={"run", "data", "split", "device", "json"})
        return objects.score_objects(run, data, split=split, device=device, json=json)
    from featalign.cli.predicting import predictor
    from featalign.cli.reporting import check_folder, write_report
    from featalign.cli.scoring import ScoreOptions, score

    if output:
        check_folder(output, shard=shard)
    test = protocol(
        run,
        split=split,
        layout=layout,
        layout_options=layout_options,
        mode=mode,
        scales=scales,
        flip=flip,
        window=window,
        overlap=overlap,
        input_size=input_size,
        boundary=boundary,
    )
    tested = predictor(
        run,
        device=device,
        precision=precision,
        mode=test.mode,
        effort=effort,
        scales=test.scales,
        flip=test.flip,
        window=test.window,
        overlap=test.overlap,
        published=published,
        max_memory=max_memory,
        max_pixels=max_pixels,
    )
    options = ScoreOptions(
        data=data,
        split=test.split,
        layout=test.layout,
        layout_options=list(test.layout_options),
        boundary=test.boundary,
        metrics=metrics,
        input_size=test.input_size,
        on_error=on_error,
        workers=workers,
        shard=shard,
    )
    done = score(tested, options, json=json)
    if output and done:
        write_report(done, output, run=run, data=data, pictures=worst)


def compare(
    run_a: Annotated[
        Path, typer.Argument(metavar="A", help="A run, model folder or exported file, or what `eval` wrote.")
    ],
    run_b: Annotated[Path, typer.Argument(metavar="B", help="The same of another.")],
    output: Annotated[Path, typer.Option("--out", metavar="DIR", help="Gets comparison.json and comparison.html.")],
    data: Annotated[
        Path | None, typer.Option(help="Data set: a folder or a zip file. Not needed, but for pictures, for two files.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Which split; default as in A's recipe, or test.")] = None,
    layout: Annotated[
        str | None, typer.Option(help="How the data set lies on disk; auto looks; default as in A's recipe.")
    ] = None,
    layout_options: LayoutOptions = [],  # noqa: B006 - Typer copies it
    boundary: Annotated[str, typer.Option(help="Widths of boundary bands in pixels, comma-separated.")] = "3,5,8,12",
    metrics: Annotated[str, typer.Option(help="Further ones: boundary_iou,boundary_f.")] = "",
    resamples: Annotated[int, typer.Option(min=100, help="Draws of the bootstrap.")] = 2000,
    pictures: Annotated[int, typer.Option(min=0, help="Images to show: those that differ most.")] = 6,
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
    on_error: Annotated[
        Literal["stop", "skip"], typer.Option(help="At an image that cannot be read: stop, or skip and count it.")
    ] = "stop",
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images ahead.")] = 0,
) -> None:
    """Put two runs side by side: which is better, by how much, and whether the images can tell; and where they differ.

    Both are scored alike, by the options here; of a run's recipe only the data count. Where A has none, B's is read.
    Files of scores are compared as they are: the options of scoring then count for nothing, but for --device and the
    limits where pictures are drawn.
    """
    from functools import partial

    from featalign.cli.comparing import run_comparison
    from featalign.cli.objects import refuse
    from featalign.cli.options import parse_bytes
    from featalign.cli.predicting import predictor
    from featalign.cli.protocol import note_unfinished, reading
    from featalign.cli.scoring import ScoreOptions
    from featalign.cli.settings import predictor_of
    from featalign.data import DEFAULT_MAX_PIXELS

    for run in (run_a, run_b):
        refuse(run, "only networks that label pixels are compared; `featalign eval --json` gives the scores of each")
        note_unfinished(run)
    load = partial(
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
    again = partial(
        predictor_of,
        device=device,
        max_memory=parse_bytes(max_memory),
        max_pixels=max_pixels or DEFAULT_MAX_PIXELS,
    )
    options = None
    if data:
        of = reading(run_a, run_b, split=split, layout=layout, layout_options=layout_options)
        options = ScoreOptions(
            data, of.split, of.layout, list(of.layout_options), boundary, metrics, input_size, on_error, workers
        )
    run_comparison((run_a, run_b), output, options, load, again, resamples=resamples, pictures=pictures)


def merge_scores(
    parts: Annotated[list[Path], typer.Argument(help="What `featalign eval --shard i/n --json FILE` wrote.")],
    json: Json = None,
) -> None:
    """Join the scores of all shards of a split: the same values as from one process."""
    from featalign.cli.scoring import join

    join(parts, json=json)
