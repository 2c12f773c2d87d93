"""The command line's commands, in the order of its help."""

from __future__ import annotations

import typer

from featalign.cli.commands import answering, asking, learning, scoring, shipping

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Feature-aligned segmentation: train, evaluate and predict at any output resolution.",
)

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
