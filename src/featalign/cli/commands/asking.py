"""What there is, and what it is like: `check-data`, `info`, `models`, `recipes` and `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from featalign.cli.console import err, out, parse_size, progress, save_json, table
from featalign.cli.options import Json, MaxPixels, Set
from featalign.errors import ConfigError, DataError


def check_data(
    folder: Annotated[Path, typer.Argument(metavar="DATA", help="A folder or a zip file in any known layout.")],
    layout: Annotated[str, typer.Option(help="How it lies on disk, such as cityscapes; auto looks.")] = "auto",
    options: Annotated[
        list[str],
        typer.Option("--layout-option", "--option", metavar="KEY=VALUE", help="An option of the layout; repeatable."),
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
    from featalign.cli.describing import show_check
    from featalign.cli.options import parse_settings
    from featalign.data import DEFAULT_MAX_PIXELS, parse_depth
    from featalign.data import check_data as check
    from featalign.data.objects import object_kinds

    given = parse_settings(options)
    own = str(given["annotations"]) if str(given.get("annotations")).endswith(".json") else None
    kinds = object_kinds(folder, annotations=own) if layout in ("auto", "coco") else []
    if layout == "coco" and not kinds:
        raise DataError(f"{folder}: has no {own or 'annotations/instances_*.json or panoptic_*.json'}")
    if kinds:
        from featalign.cli.objects import check_objects_of

        if depth != 8:
            raise ConfigError("networks that find objects read images of 8 bits per channel; leave out --depth")
        found = check_objects_of(
            folder,
            kinds,
            given,
            annotations=own,
            channels=channels,
            on_error=on_error,
            max_pixels=max_pixels or DEFAULT_MAX_PIXELS,
        )
        save_json(json, found)
        if found["errors"]:
            raise typer.Exit(2)
        return
    report = check(
        folder,
        layout=layout,
        options=given,
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
    if papers == (model is not None):
        raise ConfigError("give either a network or a stored model, or --table; `featalign models` lists the networks")
    if model is None:
        from featalign.cli.counting import show_tables

        return show_tables(json=json, markdown=markdown)
    if markdown:
        raise ConfigError("--markdown is for --table; of a single network, --json writes all that is shown")
    from featalign.cli.describing import describe, show_description

    shape = parse_size(size) or (1024, 1024)
    chosen = {key: value for key, value in {"align": align, "backbone": backbone}.items() if value is not None}
    description = describe(model, chosen=chosen, settings=options, classes=classes, size=shape)
    show_description(description)
    save_json(json, description)


def models() -> None:
    """List the networks, their options with the defaults, and the names that an option takes; then the detectors."""
    from featalign.models import detector_options, list_detectors, list_models, model_choices, model_options

    for name in list_models():
        choices = model_choices(name)
        out.print(name)
        rows = [
            (f"  {option}", repr(default), ", ".join(choices.get(option, ())))
            for option, default in model_options(name).items()
        ]
        table(rows, numbers=False)
    out.print(", ".join(list_detectors()))
    table([(f"  {option}", repr(default), "") for option, default in detector_options().items()], numbers=False)


def recipes(
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the list as Markdown.")] = None,
) -> None:
    """List the packaged recipes, the results they aim at, and what runs of them came to here."""
    from featalign.cli.recipe_list import show_recipes

    show_recipes(markdown)


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
        err.print(f"featalign: {fault}")
    raise typer.Exit(2)
