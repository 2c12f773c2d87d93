"""The commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from featalign.cli.console import err, out, parse_size, progress, save_json, table
from featalign.cli.options import (
    Effort,
    Flip,
    MaxMemory,
    Overlap,
    OverlapOrNone,
    Published,
    Scales,
    ScalesOrNone,
    ShardOf,
    Window,
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Feature-aligned segmentation: train, evaluate and predict at any output resolution.",
)

Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result as JSON.")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override one field; repeatable.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
Precision = Annotated[Literal["fp32", "bf16", "fp16"], typer.Option(help="fp32; bf16 or fp16 run under autocast.")]
Mode = Annotated[
    Literal["auto", "dense", "resized", "adaptive"],
    typer.Option(
        help="dense: ask at every output pixel; resized: resize the finest answer; adaptive: in between; auto."
    ),
]
ModeOrNone = Annotated[
    Literal["auto", "dense", "resized", "adaptive"] | None,
    typer.Option(help="As for predict; auto if nothing says so."),
]
InputSize = Annotated[
    str | None, typer.Option(metavar="HxW", help="Resize images to this before the network sees them.")
]
MaxPixels = Annotated[int | None, typer.Option(help="Refuse larger images before decoding them.")]


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A name from `featalign recipes`, or a YAML file.")],
    data: Annotated[Path, typer.Option(help="Folder with {train,val}/{images,masks} and classes.json.")],
    output: Annotated[Path, typer.Option("--out", metavar="RUN", help="Run folder to write.")],
    overrides: Set = [],  # noqa: B006 - Typer copies it
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes on this machine, one per GPU.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN, as without it, too.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run that is there.")] = False,
    on_nan: Annotated[
        Literal["stop", "skip"] | None, typer.Option(help="At a loss that is not finite; default as in the recipe.")
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Only operations that repeat bit for bit; else say which cannot.")
    ] = False,
    cache: Annotated[
        bool, typer.Option("--cache", help="Decode each image once, as far as memory reaches (data.cache).")
    ] = False,
) -> None:
    """Train a model: RUN gets the model, a log, metrics, the recipe as used and versions.

    The same command again goes on where a run was stopped, however it was.
    """
    from featalign.cli.training import choose_recipe, run_training

    chosen = choose_recipe(recipe, overrides, on_nan=on_nan, deterministic=deterministic, cache=cache)
    code = run_training(
        chosen, data=data, output=output, device=device, devices=devices, resume=resume, overwrite=overwrite
    )
    if code:
        raise typer.Exit(code)


@app.command("eval")
def evaluate(
    run: Annotated[Path, typer.Argument(help="A training run or a model folder.")],
    data: Annotated[Path, typer.Option(help="Data set: a folder or a zip file.")],
    split: Annotated[str | None, typer.Option(help="Which split; default as in the run's recipe, or test.")] = None,
    layout: Annotated[str | None, typer.Option(help="How the data set lies on disk; auto looks.")] = None,
    layout_options: Annotated[
        list[str], typer.Option("--layout-option", metavar="KEY=VALUE", help="Of the layout; repeatable.")
    ] = [],  # noqa: B006 - Typer copies it
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
    """
    from featalign.cli.predicting import predictor
    from featalign.cli.protocol import protocol
    from featalign.cli.reporting import check_folder, write_report
    from featalign.cli.scoring import Asked, score

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
    asked = predictor(
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
    wanted = Asked(
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
    done = score(asked, wanted, json=json)
    if output and done:
        write_report(done, output, run=run, data=data, pictures=worst)


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(metavar="A", help="A run, a model folder, or what `eval` wrote of one.")],
    run_b: Annotated[Path, typer.Argument(metavar="B", help="The same of another.")],
    output: Annotated[Path, typer.Option("--out", metavar="DIR", help="Gets comparison.json and comparison.html.")],
    data: Annotated[
        Path | None, typer.Option(help="Data set: a folder or a zip file. Not needed, but for pictures, for two files.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which split.")] = "test",
    layout: Annotated[str, typer.Option(help="How the data set lies on disk; auto looks.")] = "auto",
    layout_options: Annotated[
        list[str], typer.Option("--layout-option", metavar="KEY=VALUE", help="Of the layout; repeatable.")
    ] = [],  # noqa: B006 - Typer copies it
    boundary: Annotated[str, typer.Option(help="Widths of boundary bands in pixels, comma-separated.")] = "3,5,8,12",
    metrics: Annotated[str, typer.Option(help="Further ones: boundary_iou,boundary_f.")] = "",
    resamples: Annotated[int, typer.Option(min=100, help="Draws of the bootstrap.")] = 2000,
    pictures: Annotated[int, typer.Option(min=0, help="Images to show: those that differ most.")] = 6,
    mode: Mode = "auto",
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

    Files of scores are compared as they are: the options of scoring then count for nothing.
    """
    from functools import partial

    from featalign.cli.comparing import run_comparison
    from featalign.cli.predicting import predictor
    from featalign.cli.scoring import Asked

    load = partial(
        predictor,
        device=device,
        precision=precision,
        mode=mode,
        scales=scales,
        flip=flip,
        window=window,
        overlap=overlap,
        published=published,
        max_memory=max_memory,
        max_pixels=max_pixels,
    )
    asked = None
    if data:
        asked = Asked(data, split, layout, layout_options, boundary, metrics, input_size, on_error, workers, None)
    run_comparison((run_a, run_b), output, asked, load, resamples=resamples, pictures=pictures)


@app.command("merge-scores")
def merge_scores(
    parts: Annotated[list[Path], typer.Argument(help="What `featalign eval --shard i/n --json FILE` wrote.")],
    json: Json = None,
) -> None:
    """Join the scores of all shards of a split: the same values as from one process."""
    from featalign.cli.scoring import join

    join(parts, json=json)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A training run or a model folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    output: Annotated[Path, typer.Option("--out", metavar="DIR", help="Gets labels/, overlays/, probabilities/.")],
    size: Annotated[str | None, typer.Option(metavar="HxW", help="Size of the answer; default the image's.")] = None,
    box: Annotated[
        str | None, typer.Option(metavar="L,T,R,B", help="Only this part, in [0, 1] of the image or in its pixels.")
    ] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write NAME.npz.")] = False,
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
    """
    from functools import partial

    from featalign.cli.predicting import predict_all, predictor

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
    failed = predict_all(
        build,
        run,
        images,
        output,
        size=size,
        input_size=input_size,
        box=box,
        probabilities=probabilities,
        margin=margin,
        parts=parts,
        shard=shard,
        resume=resume,
        engine=engine,
        workers=workers,
    )
    if failed:
        raise typer.Exit(2)


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="A training run or a model folder.")],
    image: Annotated[Path, typer.Argument(help="An image file.")],
    output: Annotated[Path, typer.Option("--out", metavar="DIR", help="Gets one PNG per step of alignment.")],
    mode: Mode = "auto",
    input_size: InputSize = None,
    device: Device = "auto",
    max_pixels: MaxPixels = None,
) -> None:
    """Draw how a model aligns an image: offset fields, feature maps before and after, and an overview."""
    from featalign.cli.explaining import explain_image
    from featalign.cli.predicting import predictor

    asked = predictor(run, device=device, precision="fp32", mode=mode, max_pixels=max_pixels)
    explain_image(asked, image, output, input_size=parse_size(input_size))


@app.command()
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
    window: Window = None,
    overlap: Overlap = 1 / 3,
    device: Device = "auto",
    precision: Precision = "fp32",
    max_memory: MaxMemory = None,
) -> None:
    """Answer over HTTP: images to labels, overlays and polygons, points to classes. /docs says how.

    --set changes a limit (max_pixels, queue, batch, timeout, …; docs/serving.md lists them).
    """
    from featalign.cli.serving import listen, make_settings, named_runs, require, run_service

    require("serve")
    if page:
        require("try")
    from featalign.cli.predicting import predictor

    settings = make_settings(host, token=token, hosts=names, overrides=overrides)
    folders, listening = named_runs(runs), listen(host, port)
    models = {
        name: predictor(
            run,
            device=device,
            precision=precision,
            mode=mode,
            window=window,
            overlap=overlap,
            max_memory=max_memory,
            max_pixels=settings.max_pixels,
        )
        for name, run in folders.items()
    }
    run_service(models, settings, listening, page=page, host=host)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A training run or a model folder.")],
    to: Annotated[Literal["onnx", "openvino", "torch"], typer.Option(help="Kind of file.")],
    output: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Ends in .onnx, .xml (OpenVINO) or .pt2 (torch).")
    ],
    size: Annotated[
        str, typer.Option(metavar="dynamic|HxW", help="Any image and answer, or those of one size.")
    ] = "dynamic",
    precision: Annotated[
        Literal["fp32", "fp16", "int8"], typer.Option(help="int8 needs --data to calibrate and to score on.")
    ] = "fp32",
    mode: Mode = "auto",
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Images to try the file on; default drawn scenes.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="For int8: a labelled data set.")] = None,
    split: Annotated[str, typer.Option(help="For int8: the split that is scored.")] = "val",
    max_drop: Annotated[float, typer.Option(help="For int8: how much mIoU may fall; 0.01 is one point.")] = 0.01,
) -> None:
    """Write a model as ONNX, OpenVINO or a torch program, and compare the file with PyTorch at two sizes."""
    from featalign.cli.exporting import export_run

    export_run(
        run,
        output,
        to=to,
        size=size,
        precision=precision,
        mode=mode,
        images=images,
        data=data,
        split=split,
        max_drop=max_drop,
    )


@app.command()
def optimize(
    run: Annotated[Path, typer.Argument(help="A training run or a model folder.")],
    output: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Gets the prepared model; it is used like any other.")
    ] = None,
    size: Annotated[str, typer.Option(metavar="HxW", help="Of the images that it is to be fast on.")] = "512x1024",
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Its first images are tried; drawn scenes by default.")
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Also try torch.compile on the backbone.")] = False,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the labels that the form advised may change.")
    ] = 0.01,
    device: Device = "auto",
    json: Json = None,
) -> None:
    """Prepare a model for inference: fold its batch norms, and measure here what that and half precision bring."""
    from featalign.cli.optimizing import optimize_run

    optimize_run(
        run,
        output,
        size=parse_size(size) or (512, 1024),
        images=images,
        compiled=compiled,
        tolerance=tolerance,
        device=device,
        json=json,
    )


@app.command()
def share(
    run: Annotated[Path, typer.Argument(help="A training run or a model folder.")],
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the model and its card.")] = None,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Put both on the Hugging Face hub; needs `hf auth login`.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="With --push: not for everybody to see.")] = False,
    license: Annotated[
        str | None, typer.Option(metavar="ID", help="Of the weights, like mit; default the backbone's, if stated.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="NAME", help="What the model learnt from, like CamVid.")] = None,
    data_license: Annotated[str | None, typer.Option(metavar="ID", help="Licence of that data.")] = None,
    metrics: Annotated[
        list[Path], typer.Option(metavar="FILE", help="What `eval --json` wrote of this model; repeatable.")
    ] = [],  # noqa: B006 - Typer copies it
) -> None:
    """Give a model away: its two files and a card with classes, training, scores with protocol, licences and use."""
    from featalign.cli.sharing import share_run
    from featalign.models.card import Stated

    stated = Stated(license=license, data=data, data_license=data_license)
    share_run(run, to=to, push=push, private=private, stated=stated, evaluations=metrics)


@app.command("check-data")
def check_data(
    folder: Annotated[Path, typer.Argument(metavar="DATA", help="A folder or a zip file in any known layout.")],
    layout: Annotated[str, typer.Option(help="How it lies on disk, such as cityscapes; auto looks.")] = "auto",
    options: Annotated[
        list[str], typer.Option("--option", metavar="KEY=VALUE", help="An option of the layout; repeatable.")
    ] = [],  # noqa: B006 - Typer copies it
    channels: Annotated[int, typer.Option(help="Channels that the model reads.")] = 3,
    depth: Annotated[int, typer.Option(help="Bits per channel of the images: 8 or 16.")] = 8,
    on_error: Annotated[
        Literal["stop", "skip"], typer.Option(help="What training does about files that cannot be read.")
    ] = "stop",
    max_pixels: MaxPixels = None,
    json: Json = None,
) -> None:
    """Read every file and say what its labels mean, what is wrong or worth knowing; code 2 if `train` would refuse."""
    from featalign.cli.options import parse_settings
    from featalign.cli.reports import show_check
    from featalign.data import DEFAULT_MAX_PIXELS, parse_depth
    from featalign.data import check_data as check

    report = check(
        folder,
        layout=layout,
        options=parse_settings(options),
        channels=channels,
        depth=parse_depth(depth),
        on_error=on_error,
        max_pixels=max_pixels or DEFAULT_MAX_PIXELS,
        progress=progress,
    )
    show_check(report)
    save_json(json, report.to_json())
    if not report.ok:
        raise typer.Exit(2)


@app.command()
def info(
    model: Annotated[
        str | None, typer.Argument(help="A name from `featalign models`, a training run or a model folder.")
    ] = None,
    align: Annotated[
        str | None, typer.Option(help="What brings levels into agreement; `featalign models` lists the names.")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="Any timm pyramid.")] = None,
    classes: Annotated[int, typer.Option(min=1, help="Number of classes.")] = 19,
    size: Annotated[str, typer.Option(metavar="HxW", help="Image size to count for.")] = "1024x1024",
    options: Set = [],  # noqa: B006 - Typer copies it
    papers: Annotated[bool, typer.Option("--table", help="Instead: the papers' tables beside our counts.")] = False,
    json: Json = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="With --table: also as Markdown.")] = None,
) -> None:
    """Parameters, multiply-adds and strides of a network; `--set width=64` sets any of its options."""
    if papers or model is None:
        from featalign.cli.counting import show_tables

        return show_tables(asked=papers, model=model, json=json, markdown=markdown)
    from featalign.cli.reports import describe, show_description

    shape = parse_size(size) or (1024, 1024)
    chosen = {key: value for key, value in {"align": align, "backbone": backbone}.items() if value is not None}
    description = describe(model, chosen=chosen, settings=options, classes=classes, size=shape)
    show_description(description)
    save_json(json, description)


@app.command()
def models() -> None:
    """List the networks, their options with the defaults, and the names that an option takes."""
    from featalign.models import list_models, model_choices, model_options

    for name in list_models():
        choices = model_choices(name)
        out.print(name)
        rows = [
            (f"  {option}", repr(default), ", ".join(choices.get(option, ())))
            for option, default in model_options(name).items()
        ]
        table(rows, numbers=False)


@app.command()
def recipes(
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the list as Markdown.")] = None,
) -> None:
    """List the packaged recipes, the results they aim at, and what runs of them came to here."""
    from featalign.cli.recipe_list import show_recipes

    show_recipes(markdown)


@app.command()
def doctor() -> None:
    """Say what is installed and whether it fits together."""
    from featalign.doctor import devices, faults, versions

    table(list(versions().items()), numbers=False)
    found = faults()
    if not found:
        for device in devices():
            out.print(f"device  {device}")
        out.print("everything fits together")
        return
    for fault in found:
        err.print(f"featalign: {fault}", markup=False)
    raise typer.Exit(2)


@app.command()
def demo(
    output: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Gets the runs, the table and the figure.")
    ] = Path("demo"),
    overrides: Set = [],  # noqa: B006 - Typer copies it
) -> None:
    """Learn to segment drawn scenes in minutes, and see what asking at 4 times the resolution brings."""
    from featalign.demo import run_demo

    run_demo(output, overrides=overrides, console=err)
