"""The command line's commands, in the order of its help."""

from __future__ import annotations

from typing import Annotated

import typer

from featalign.cli.commands import answering, asking, learning, scoring, shipping
from featalign.version import __version__


def show_version(wanted: bool) -> None:
    """Say which version this is, and end."""
    if wanted:
        typer.echo(f"featalign {__version__}")
        raise typer.Exit


def common(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """What can be asked without a command."""


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Feature-aligned segmentation: train, evaluate and predict at any output resolution.",
)

app.callback()(common)
app.command()(learning.train)
app.command("eval")(scoring.evaluate)
app.command()(scoring.compare)
app.command("merge-scores")(scoring.merge_scores)
app.command()(answering.predict)
app.command()(answering.explain)
app.command()(answering.serve)
app.command()(shipping.export)
app.command()(shipping.optimize)
app.command()(shipping.share)
app.command("check-data")(asking.check_data)
app.command()(asking.info)
app.command()(asking.models)
app.command()(asking.recipes)
app.command()(asking.doctor)
app.command()(learning.demo)
