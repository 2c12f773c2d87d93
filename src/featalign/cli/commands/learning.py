"""From a recipe to a run: `train` and `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from featalign.cli.console import err
from featalign.cli.options import Device, LayoutOptions, Set


def train(
    recipe: Annotated[str, typer.Argument(help="A name from `featalign recipes`, or a YAML file.")],
    data: Annotated[Path, typer.Option(help="Folder or zip in any known layout; COCO files for detectors.")],
    output: Annotated[Path, typer.Option("--out", metavar="RUN", help="Run folder to write.")],
    layout: Annotated[
        str | None, typer.Option(help="How the data set lies on disk (data.layout); default as in the recipe.")
    ] = None,
    layout_options: LayoutOptions = [],  # noqa: B006 - Typer copies it
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
    from featalign.cli.options import parse_settings
    from featalign.cli.training import choose_recipe, run_training

    fields = {
        "data.layout": layout,
        "data.options": parse_settings(layout_options) or None,
        "data.cache": cache or None,
        "training.on_nan": on_nan,
        "training.deterministic": deterministic or None,
    }
    chosen = choose_recipe(recipe, overrides, {name: value for name, value in fields.items() if value is not None})
    code = run_training(
        chosen, data=data, output=output, device=device, devices=devices, resume=resume, overwrite=overwrite
    )
    if code:
        raise typer.Exit(code)


def demo(
    output: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Gets the runs, the table and the figure.")
    ] = Path("demo"),
    overrides: Set = [],  # noqa: B006 - Typer copies it
) -> None:
    """Learn to segment drawn scenes in minutes, and see what asking at 4 times the resolution brings."""
    from featalign.demo import run_demo

    run_demo(output, overrides=overrides, console=err)
