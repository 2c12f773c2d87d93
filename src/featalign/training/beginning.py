"""What happens once before the first step: weights to begin with, checks, counts, the run folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import Tensor

from featalign.data import bar_on
from featalign.spec import Normalization
from featalign.training.class_counts import class_weights, label_counts
from featalign.training.determinism import require_deterministic
from featalign.training.engine import from_first, share_statistics
from featalign.training.freezing import freeze
from featalign.training.network import Network
from featalign.training.normalizing import recall, remember, require_measurable, settle
from featalign.training.optimization import offset_parameters
from featalign.training.progress import say
from featalign.training.recipe import Recipe
from featalign.training.resume import Start, begin, goes_on
from featalign.training.run_folder import RunFolder, write_json
from featalign.training.splits import Splits
from featalign.training.start_from import start_from
from featalign.training.start_report import StartReport
from featalign.training.tasks import Task, task_of
from featalign.training.world import World, release, wait_for_first


@dataclass(frozen=True)
class Beginning:
    """The network, where it starts, and what was counted in the training masks (images, classes), if it is needed."""

    model: Network
    start: Start
    counts: Tensor | None
    class_weights: Tensor | None


def begin_run(
    recipe: Recipe,
    data: Path | Splits,
    splits: Splits,
    folder: RunFolder,
    *,
    fabric: Fabric,
    world: World,
    overwrite: bool,
    console: Console,
) -> Beginning:
    """The first process looks, checks and makes the folder, however long it takes; the others wait for it.

    What may take minutes comes last.

    Raises:
        ConfigError: for another run in the folder, or options that do not exist.
        DataError: for data that cannot be trained on.
        WeightsError: for weights to begin with that cannot be used.
    """
    require_measurable(recipe, splits.train)
    fresh = world.first and (overwrite or not goes_on(folder, recipe))
    torch.manual_seed(recipe.training.seed)
    task = task_of(recipe)
    model = task.build(recipe, splits, pretrained=fresh)
    report = start_from(model, recipe.training.start_from) if fresh and recipe.training.start_from else None
    _set_up(model, recipe, task, splits, fabric=fabric, world=world)
    weights = class_weights(recipe.loss, splits.classes, None) if recipe.loss.class_weights != "balanced" else None
    start, counts = Start(), None
    if world.first:
        if fresh and isinstance(data, Path):
            task.check_files(data, recipe.data, console=console)
        start = begin(folder, recipe, splits, fresh=fresh, say=partial(say, console))
        if report is not None:
            _record(report, folder, console)
        if fresh:
            _normalize(model, recipe, splits, folder, given=report is not None and report.normalizes, console=console)
        else:
            recall(model, folder)
        counts = None if start.finished else _counts(recipe, splits, console)
        release(world)
    wait_for_first(world)
    start, counts, model.normalization = from_first((start, counts, model.normalization))
    if isinstance(data, Path):
        task.augment(splits, recipe.data, model.normalization)
    if recipe.loss.class_weights == "balanced" and counts is not None:
        weights = class_weights(recipe.loss, splits.classes, counts.sum(0))
    return Beginning(model, start, counts, weights)


def _set_up(model: Network, recipe: Recipe, task: Task, splits: Splits, *, fabric: Fabric, world: World) -> None:
    """What the recipe asks of the network itself; what is frozen never reaches the optimizer."""
    if recipe.training.sync_bn:
        share_statistics(model, world, fabric.device)
    freeze(model, recipe.training)
    if recipe.training.offset_lr_multiplier != 1:
        offset_parameters(model)  # refused here, and not where the folder is begun
    fabric.to_device(model)
    if recipe.training.deterministic:
        drawn = task.drawn(recipe.data, splits, device=fabric.device)
        require_deterministic(task.learner(model, recipe, class_weights=None), drawn)


def _record(report: StartReport, folder: RunFolder, console: Console) -> None:
    """In the folder and on the console: what the run begins with."""
    write_json(folder.start_from, report.to_json())
    say(console, report.summary())
    console.print(report.table())


def _normalize(
    model: Network, recipe: Recipe, splits: Splits, folder: RunFolder, *, given: bool, console: Console
) -> None:
    """Once and for all, for the day that the run goes on, too."""
    if settle(model, recipe, splits.train, given=given, progress=bar_on(console)):
        say(console, f"images are normalized by what was measured: {_listed(model.normalization)}")
    remember(model, folder)


def _listed(normalization: Normalization) -> str:
    mean, deviation = (
        ", ".join(f"{value * normalization.scale:.4g}" for value in values)
        for values in (normalization.mean, normalization.std)
    )
    return f"mean {mean}, deviation {deviation}"


def _counts(recipe: Recipe, splits: Splits, console: Console) -> Tensor | None:
    if recipe.loss.class_weights != "balanced" and not recipe.data.oversample:
        return None
    return label_counts(splits.train, splits.classes, progress=bar_on(console))
