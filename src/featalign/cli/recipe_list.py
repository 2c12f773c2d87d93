"""The `recipes` command's list, on the terminal and as a page."""

from __future__ import annotations

from pathlib import Path

from featalign.cli.console import out, table
from featalign.files import write_atomically
from featalign.training import Recipe, list_recipes, load_recipe

_INTRODUCTION = """# Recipes

What `featalign recipes --markdown docs/recipes.md` writes; do not edit. One recipe for every row that the papers print
of their own networks; where one network stands in several tables, its recipe names them all. "not run" means
that the published result was not reproduced here: the data, the ImageNet weights and the GPU hours were not at hand.
Every recipe is built and trained for two iterations on fabricated data of its layout by `make test-slow`.

| recipe | published | here |
|---|---|---|"""

_METRICS = {"pq": " PQ", "miou": "", "mask_ap": " mask AP", "box_ap": " box AP"}


def show_recipes(markdown: Path | None) -> None:
    """Print one line for each; write the page if asked to. Raises FeatalignError if it cannot be written."""
    found = {name: load_recipe(name) for name in list_recipes()}
    rows = [(name, aims(recipe), status(recipe), recipe.summary) for name, recipe in found.items()]
    table(rows, header=("recipe", "published", "here", "what"), numbers=False)
    out.print("scores in percent, of mIoU if none is named; a YAML file of your own may name one of these as its base")
    if markdown is not None:
        lines = [f"| `{name}`<br>{what} | {details(found[name])} | {here} |" for name, _, here, what in rows]
        write_atomically(markdown, "\n".join([_INTRODUCTION, *lines]) + "\n")


def aims(recipe: Recipe) -> str:
    """What was published: PQ, mIoU, mask AP or box AP, the first that there is; or a dash."""
    for name, title in _METRICS.items():
        for result in recipe.published:
            if name in result.metrics:
                return f"{result.metrics[name]:.1f}{title}"
    return "-"


def status(recipe: Recipe) -> str:
    """``not run``, or the scores of the runs made."""
    runs = [f"{result.metrics['miou']:g} ({result.split})" for result in recipe.measured if "miou" in result.metrics]
    return ", ".join(runs) or "not run"


def details(recipe: Recipe) -> str:
    """Every published row with its numbers."""
    return "<br>".join(
        f"{result.paper} Table {result.table}, {result.row}: "
        + ", ".join(f"{name} {value:g}" for name, value in result.metrics.items())
        for result in recipe.published
    )
