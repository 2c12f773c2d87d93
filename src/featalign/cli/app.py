"""The commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from featalign.cli.console import err, out, parse_size, percent, progress, save_json, table

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
Precision = Annotated[Literal["fp32", "bf16"], typer.Option(help="fp32, or bf16 (autocast).")]
Mode = Annotated[
    Literal["auto", "dense", "resized"],
    typer.Option(help="dense: ask at every output pixel; resized: resize the finest answer; auto."),
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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run that is there.")] = False,
) -> None:
    """Train a model: RUN gets the model, a log, metrics, the recipe as used and versions."""
    from featalign.training import load_recipe
    from featalign.training.run import train as run

    result = run(
        load_recipe(recipe).with_overrides(overrides), data=data, out=output, device=device, overwrite=overwrite
    )
    if result.best is not None:
        out.print(f"best mIoU {percent(result.best['miou'])} on validation at iteration {result.best['step']}")
    out.print(f"model in {result.folder / 'model'}")
    if result.interrupted:
        raise typer.Exit(130)


@app.command("eval")
def evaluate(
    run: Annotated[Path, typer.Argument(help="A training run or a model folder.")],
    data: Annotated[Path, typer.Option(help="Folder with SPLIT/{images,masks} and classes.json.")],
    split: Annotated[str, typer.Option(help="Which split.")] = "test",
    boundary: Annotated[str, typer.Option(help="Widths of boundary bands in pixels, comma-separated.")] = "3",
    mode: Mode = "auto",
    input_size: InputSize = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    max_pixels: MaxPixels = None,
    json: Json = None,
) -> None:
    """Score a model on every labelled pixel of a split, at the masks' own resolution."""
    from featalign.cli.predicting import predictor
    from featalign.cli.scores import parse_widths, show
    from featalign.data import FolderDataset
    from featalign.inference import evaluate as score

    widths = parse_widths(boundary)
    asked = predictor(run, device=device, precision=precision, mode=mode, max_pixels=max_pixels)
    samples = FolderDataset(data, split, channels=asked.model.in_channels)
    found = score(asked, samples, boundary_widths=widths, input_size=parse_size(input_size), progress=progress)
    show(found)
    save_json(json, {"split": split, "mode": mode, "input_size": input_size, **found.to_json()})


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A training run or a model folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    output: Annotated[Path, typer.Option("--out", metavar="DIR", help="Gets labels/, overlays/, probabilities/.")],
    size: Annotated[str | None, typer.Option(metavar="HxW", help="Size of the answer; default the image's.")] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write NAME.npz.")] = False,
    mode: Mode = "auto",
    input_size: InputSize = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    max_pixels: MaxPixels = None,
) -> None:
    """Segment images: a palette PNG of class ids and an overlay with a legend for each."""
    from featalign.cli.predicting import predictor
    from featalign.inference import collect_images, predict_files

    found = collect_images(images)
    asked = predictor(run, device=device, precision=precision, mode=mode, max_pixels=max_pixels)
    failures = predict_files(
        asked,
        found,
        output,
        size=parse_size(size),
        input_size=parse_size(input_size),
        probabilities=probabilities,
        progress=progress,
    )
    for reason in failures.values():
        err.print(f"featalign: {reason}", markup=False)
    out.print(f"{len(found) - len(failures)} of {len(found)} images written to {output}")
    if failures:
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


@app.command("check-data")
def check_data(
    folder: Annotated[Path, typer.Argument(help="Folder with {train,val,test}/{images,masks} and classes.json.")],
    channels: Annotated[int, typer.Option(help="Channels that the model reads.")] = 3,
    max_pixels: MaxPixels = None,
    json: Json = None,
) -> None:
    """Read every file and say what is wrong or worth knowing; exit code 2 if `train` would refuse it."""
    from featalign.cli.reports import show_check
    from featalign.data import DEFAULT_MAX_PIXELS, check_folder

    report = check_folder(folder, channels=channels, max_pixels=max_pixels or DEFAULT_MAX_PIXELS, progress=progress)
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
def recipes() -> None:
    """List the packaged recipes."""
    from featalign.training import list_recipes, load_recipe

    table([(name, load_recipe(name).summary) for name in list_recipes()], numbers=False)


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
