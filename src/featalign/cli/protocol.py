"""How `eval` tests a run, and what `compare` reads: as the recipe says, unless told otherwise."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from featalign.cli.console import err
from featalign.cli.options import format_setting
from featalign.errors import ConfigError
from featalign.models.network import Mode
from featalign.training import Recipe, load_recipe
from featalign.training.resume import is_finished
from featalign.training.run_folder import RunFolder


def note_unfinished(run: Path) -> None:
    """Say so where the model is not yet the one that the run will end with."""
    folder = RunFolder(run)
    if folder.recipe.is_file() and folder.model.is_dir() and not is_finished(folder):
        err.print(f"note: {run} is a training run that is not finished; its model may still change")


@dataclass(frozen=True)
class Protocol:
    """Options of `eval`, as text where they are text there."""

    split: str = "test"
    layout: str = "auto"
    layout_options: tuple[str, ...] = ()
    mode: Mode = "auto"
    scales: str = "1"
    flip: bool = False
    window: str | None = None
    overlap: float = 1 / 3
    input_size: str | None = None
    boundary: str = "3,5,8,12"


def protocol(run: Path, **given: Any) -> Protocol:
    """What is ``given``, and for all that is None or empty what the recipe of the run says, or the default."""
    return _told(_recipe(run), given)


def reading(*runs: Path, **given: Any) -> Protocol:
    """The same of split, layout and its options alone, by the first of the runs that has a recipe."""
    recipe = _recipe(next((run for run in runs if RunFolder(run).recipe.is_file()), runs[0]))
    data = Protocol(split=recipe.split, layout=recipe.layout, layout_options=recipe.layout_options)
    return _told(data, given)


def _recipe(run: Path) -> Protocol:
    """What the recipe of the run says, or the default where there is none."""
    file = RunFolder(run).recipe
    if file.is_file():
        try:
            return _of(load_recipe(file))
        except ConfigError as error:
            err.print(f"note: tested by the defaults, since the run's recipe cannot be read: {error}")
    return Protocol()


def _told(found: Protocol, given: dict[str, Any]) -> Protocol:
    """``found`` with what is ``given`` in its place; names what it keeps."""
    chosen = {name: value for name, value in given.items() if value is not None and value != []}
    if chosen.get("layout") not in (None, found.layout):  # options of another layout
        found = replace(found, layout_options=())
    if isinstance(chosen.get("layout_options"), list):
        chosen["layout_options"] = tuple(chosen["layout_options"])
    result = replace(found, **chosen)
    _show_unusual(found, result)
    return result


def _of(recipe: Recipe) -> Protocol:
    test, data = recipe.test, recipe.data
    return Protocol(
        split=test.split or data.test_split,
        layout=data.layout,
        layout_options=tuple(format_setting(key, value) for key, value in data.options.items()),
        mode=test.mode,
        scales=",".join(f"{scale:g}" for scale in test.scales),
        flip=test.flip,
        window=_size(test.window),
        overlap=test.overlap,
        input_size=_size(test.input_size),
        boundary=",".join(map(str, test.boundary)) or Protocol.boundary,
    )


def _show_unusual(recipe: Protocol, used: Protocol) -> None:
    """Name what comes from the recipe and is not the default."""
    default = Protocol()
    unusual = [
        f"{field.name.replace('_', ' ')} {_shown(getattr(used, field.name))}"
        for field in fields(Protocol)
        if getattr(recipe, field.name) == getattr(used, field.name) != getattr(default, field.name)
    ]
    if unusual:
        err.print(f"as the run's recipe says: {', '.join(unusual)}")


def _shown(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _size(size: tuple[int, int] | None) -> str | None:
    return None if size is None else f"{size[0]}x{size[1]}"
