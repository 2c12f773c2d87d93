"""From a recipe and data to a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from featalign.doctor import versions
from featalign.files import write_atomically
from featalign.models import Segmentor, create_model, save_model
from featalign.spec import Classes
from featalign.training.fit import fit
from featalign.training.log import RunLog
from featalign.training.module import SegmentationModule
from featalign.training.progress import ProgressLine
from featalign.training.recipe import Recipe
from featalign.training.recorder import Recorder
from featalign.training.resources import peak_memory
from featalign.training.run_folder import RunFolder, check_free, prepare, write_json
from featalign.training.splits import Splits, check_files, open_splits
from featalign.training.timing import Stopwatch


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        folder: the run folder.
        iterations: steps made; fewer than the recipe's if it was interrupted.
        best: the best validation: step, miou, pixel_accuracy, mean_accuracy, iou by class name, absent classes;
            None if nothing was validated.
        seconds_per_iteration: mean, waiting for data included, validations not.
        memory: ``peak_rss_mb`` and, on a GPU, ``peak_gpu_mb``.
        interrupted: stopped by Ctrl-C.
    """

    folder: Path
    iterations: int
    best: dict[str, Any] | None
    seconds_per_iteration: float
    memory: dict[str, float]
    interrupted: bool


def train(
    recipe: Recipe,
    *,
    data: Path | Splits,
    out: Path,
    overwrite: bool = False,
    device: str = "auto",
    console: Console | None = None,
) -> RunResult:
    """Train a model and leave a run folder: model/, last/, log.jsonl, metrics.json, recipe.yaml, versions.json.

    Everything is checked before the first step. Ctrl-C ends the run early, with its last weights saved. On a CPU, the
    same recipe, data and number of threads give the same weights, bit for bit; torch's global seed is set.

    Args:
        recipe: every choice.
        data: a folder in the recipe's layout, which is read and checked in full first; or open splits, taken as given.
        out: the run folder, made if missing.
        overwrite: replace a run that is there.
        device: "auto", "cpu", "gpu", …: where to train, as Lightning names it.
        console: where progress is shown; stderr by default.

    Raises:
        ConfigError: if ``out`` holds a run, or the recipe asks for what does not exist.
        DataError: if the data cannot be trained on.
        FeatalignError: if a file cannot be written, or the loss is no longer finite.
    """
    console = console or Console(stderr=True)
    folder = RunFolder(out)
    if not overwrite:
        check_free(folder)
    splits = data if isinstance(data, Splits) else open_splits(data, recipe.data)
    torch.manual_seed(recipe.training.seed)
    module = SegmentationModule(build_model(recipe, splits.classes), recipe)
    if isinstance(data, Path):
        check_files(data, recipe.data, console=console)  # last, because it may take minutes
    prepare(folder)
    write_atomically(folder.recipe, recipe.to_yaml())
    write_json(folder.versions, {**versions()})
    with RunLog(folder.log) as log, ProgressLine(console, total=recipe.training.iterations) as progress:
        return _train(module, splits, folder, log=log, progress=progress, device=device)


def build_model(recipe: Recipe, classes: Classes) -> Segmentor:
    """The untrained network of a recipe. Raises ConfigError for options that it does not have."""
    model = recipe.model
    chosen = {"align": model.align, "width": model.width, "aspp": model.aspp}
    return create_model(
        model.name,
        backbone=model.backbone,
        pretrained=model.pretrained,
        classes=classes,
        in_channels=recipe.data.channels,
        **{name: value for name, value in chosen.items() if value is not None},
        **model.options,
    )


def _train(
    module: SegmentationModule, splits: Splits, folder: RunFolder, *, log: RunLog, progress: ProgressLine, device: str
) -> RunResult:
    training = module.recipe.training
    stopwatch = Stopwatch(
        iterations=training.iterations, validate_every=None if splits.val is None else training.validate_every
    )
    recorder = Recorder(
        module,
        log=log,
        progress=progress,
        stopwatch=stopwatch,
        save_best=lambda: save_model(module.kept, folder.model),
    )
    done = fit(module, splits, recorder=recorder, device=device)
    save_model(module.kept, folder.last)
    if recorder.best is None:
        save_model(module.kept, folder.model)
        progress.say("nothing was validated: model/ holds the last weights")
    if done < training.iterations:
        progress.say(f"interrupted after {done} of {training.iterations} iterations; last weights in {folder.last}")
    result = RunResult(
        folder=folder.root,
        iterations=done,
        best=recorder.best,
        seconds_per_iteration=stopwatch.seconds_per_iteration,
        memory=peak_memory(),
        interrupted=done < training.iterations,
    )
    write_json(folder.metrics, _metrics(result))
    return result


def _metrics(result: RunResult) -> dict[str, object]:
    return {
        "iterations": result.iterations,
        "interrupted": result.interrupted,
        "seconds_per_iteration": round(result.seconds_per_iteration, 4),
        **result.memory,
        "validation": result.best,
    }
