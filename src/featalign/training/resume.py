"""What to do with a run folder: begin, go on, or nothing because the run is finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from featalign.doctor import versions
from featalign.errors import ConfigError, FeatalignError
from featalign.files import write_atomically
from featalign.training.checkpoints import Checkpoint, has_checkpoints, read_checkpoints
from featalign.training.log import RunLog
from featalign.training.recipe import Recipe
from featalign.training.recipe_files import load_recipe
from featalign.training.run_folder import RunFolder, prepare, remove_leftovers, tidy, write_json
from featalign.training.splits import Splits

LEARNT = ("model", "data", "training", "loss")
"""Sections of a recipe that training reads; the others may change on the way."""

FREE = (
    "data.workers",
    "data.cache",
    "training.checkpoint_every",
    "training.on_nan",
    "training.tensorboard",
)
"""Fields of them that may change, too, because they do not change what is learnt from good batches."""

WAYS_OUT = "choose another folder, or replace it (--overwrite on the command line)"


@dataclass(frozen=True)
class Start:
    """Where a run starts: at ``checkpoint``, at the beginning (None), or nowhere because it is ``finished``."""

    checkpoint: Checkpoint | None = None
    finished: bool = False


def begin(folder: RunFolder, recipe: Recipe, splits: Splits, *, fresh: bool, say: Callable[[str], None]) -> Start:
    """Make the folder ready. ``fresh``: for a new run, in place of what is there; else :func:`goes_on` holds.

    Raises:
        ConfigError: if another process trains there, or the run there was begun with other samples.
        FeatalignError: if no checkpoint of the run there can be read, or the folder cannot be written.
    """
    if not fresh and is_finished(folder):  # looked at before the lock, which a disk that is only read does not give
        tidy(folder)  # the end may have come between its numbers and this
        say(f"{folder.root}: this run is finished; train into another folder, or again with --overwrite")
        return Start(finished=True)
    if folder.log.exists():
        with RunLog(folder.log):  # refused while another process holds it
            pass
    checkpoint = None if fresh else _newest(folder, identity(splits), say=say)
    if checkpoint is None:
        prepare(folder)
    else:
        remove_leftovers(folder)
        folder.metrics.unlink(missing_ok=True)  # the numbers of a run that was interrupted: no longer those of model/
        say(f"{folder.root}: going on after step {checkpoint.step} of {recipe.training.iterations}")
        _note_versions(folder, say=say)
    write_atomically(folder.recipe, recipe.to_yaml())
    write_json(folder.versions, {**versions()})
    return Start(checkpoint)


def goes_on(folder: RunFolder, recipe: Recipe) -> bool:
    """Whether ``folder`` holds a run of ``recipe`` that is finished, or that has got as far as a checkpoint.

    One that was killed before is begun again, with the weights that it begins with and so with the same result.

    Raises:
        ConfigError: if it holds a run of another recipe; the first field that differs is named.
    """
    earlier = folder.earlier()
    if not earlier:
        return False
    if not folder.recipe.exists():
        raise ConfigError(f"{folder.root}: holds {earlier[0].name} but no {folder.recipe.name}; {WAYS_OUT}")
    for name, (old, new) in _differences(load_recipe(folder.recipe), recipe).items():
        state = "a finished run" if is_finished(folder) else "an unfinished run"
        raise ConfigError(
            f"{folder.root}: already holds {state} of another recipe ({name} is {json.dumps(old)} there, "
            f"{json.dumps(new)} here); {WAYS_OUT}"
        )
    return is_finished(folder) or has_checkpoints(folder.checkpoints)


def is_finished(folder: RunFolder) -> bool:
    """Whether the run there came to its end. Its numbers are written last of all."""
    try:
        return json.loads(folder.metrics.read_text(encoding="utf-8"))["interrupted"] is False
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _newest(folder: RunFolder, data: dict[str, object], *, say: Callable[[str], None]) -> Checkpoint:
    """The newest checkpoint that can be read.

    Raises:
        ConfigError: if it was made with other samples.
        FeatalignError: if none can be read.
    """
    for found in read_checkpoints(folder.checkpoints):
        if isinstance(found, FeatalignError):
            say(f"{found}; trying the one before")
            continue
        there = found.record["data"]
        if there != data:
            raise ConfigError(
                f"{folder.root}: was begun with other data ({_described(there)} there, {_described(data)} now); "
                f"{WAYS_OUT}"
            )
        return found
    raise FeatalignError(f"{folder.checkpoints}: no checkpoint can be read; begin again with --overwrite")


def identity(splits: Splits) -> dict[str, object]:
    """What must be the same for a run to go on: the samples by name and number, and the classes."""
    return {
        "train": _named(splits.train),
        "val": None if splits.val is None else _named(splits.val),
        "classes": list(splits.classes.names),
    }


def _named(samples: Any) -> dict[str, object]:
    """Number of samples and a digest of their names, where the data set knows them without reading."""
    names = [sample.name for sample in getattr(samples, "samples", ())]
    return {"samples": len(samples), "names": hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]}


def _differences(there: Recipe, now: Recipe) -> dict[str, tuple[object, object]]:
    old, new = _flat(there), _flat(now)
    return {name: (old.get(name), new.get(name)) for name in old | new if old.get(name) != new.get(name)}


def _flat(recipe: Recipe) -> dict[str, object]:
    """``section.field`` to value, of the fields that must not change."""
    content = recipe.model_dump(mode="json", include=set(LEARNT))
    flat = {f"{section}.{name}": value for section in LEARNT for name, value in content[section].items()}
    return {name: value for name, value in flat.items() if name not in FREE}


def _described(data: Any) -> str:
    val = "none" if data["val"] is None else data["val"]["samples"]
    return f"{data['train']['samples']} training and {val} validation images of {len(data['classes'])} classes"


def _note_versions(folder: RunFolder, *, say: Callable[[str], None]) -> None:
    try:
        there = json.loads(folder.versions.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    changed = [
        f"{name} {there.get(name)} then, {now} now" for name, now in versions().items() if there.get(name) != now
    ]
    if changed:
        say(f"note: {'; '.join(changed)}: from here on the numbers may differ from an uninterrupted run's")
