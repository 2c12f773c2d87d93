"""What a run came to, and the numbers that it leaves."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featalign.training.fit import Fit
from featalign.training.progress import ProgressLine
from featalign.training.resources import peak_memory
from featalign.training.run_folder import RunFolder, tidy, write_json
from featalign.training.tasks import task_of


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        folder: the run folder.
        iterations: steps made; fewer than the recipe's if it was interrupted or stopped early.
        best: the best validation: step, and metric, the name of the score that it has the most of; miou,
            pixel_accuracy, mean_accuracy, iou by class name, absent classes; of detectors: ap, box and mask; of
            panoptic networks: pq, sq, rq, things, stuff, classes. None if nothing was validated.
        seconds_per_iteration: mean, waiting for data included, validations not.
        memory: ``peak_rss_mb`` and, on a GPU, ``peak_gpu_mb``, of the first process.
        interrupted: stopped by Ctrl-C or SIGTERM; the same call goes on.
        skipped: steps that were left out because something in them was not finite.
    """

    folder: Path
    iterations: int
    best: dict[str, Any] | None
    seconds_per_iteration: float
    memory: dict[str, float]
    interrupted: bool
    skipped: int

    def numbers(self) -> dict[str, object]:
        """What ``metrics.json`` holds."""
        return {
            "iterations": self.iterations,
            "interrupted": self.interrupted,
            "skipped": self.skipped,
            "seconds_per_iteration": round(self.seconds_per_iteration, 4),
            **self.memory,
            "validation": self.best,
        }


def conclude(fit: Fit, folder: RunFolder, *, done: int, finished: bool) -> RunResult:
    """Store the last weights, say how it ended, and write the numbers; the first process does."""
    recorder, progress = fit.recorder, fit.recorder.progress
    result = RunResult(
        folder=folder.root,
        iterations=done,
        best=recorder.best,
        seconds_per_iteration=recorder.seconds_per_iteration,
        memory=peak_memory(),
        interrupted=not finished,
        skipped=fit.stepper.guard.skipped,
    )
    if fit.world.first:
        _store(fit, folder, result)
        _say_how_it_ended(result, folder, progress, total=fit.trainee.recipe.training.iterations)
    return result


def earlier_result(folder: RunFolder) -> RunResult:
    """The result of the finished run in ``folder``, as its numbers tell it."""
    numbers = json.loads(folder.metrics.read_text(encoding="utf-8"))
    return RunResult(
        folder=folder.root,
        iterations=numbers["iterations"],
        best=numbers["validation"] and _with_nan(numbers["validation"]),
        seconds_per_iteration=numbers["seconds_per_iteration"],
        memory={name: value for name, value in numbers.items() if name.startswith("peak_")},
        interrupted=False,
        skipped=numbers.get("skipped", 0),
    )


def _with_nan(row: dict[str, Any]) -> dict[str, Any]:
    """The row of a validation as it was before JSON, which has no nan."""
    plain = {name: _with_nan(value) if isinstance(value, dict) else value for name, value in row.items()}
    return {name: math.nan if value is None else value for name, value in plain.items()}


def _store(fit: Fit, folder: RunFolder, result: RunResult) -> None:
    """The numbers come last: where they are, and not of an interrupted run, the run is finished."""
    task = task_of(fit.trainee.recipe)
    task.save(fit.trainee.kept, folder.last)
    if result.best is None:
        task.save(fit.trainee.kept, folder.model)
    write_json(folder.metrics, result.numbers())
    if not result.interrupted:
        tidy(folder)


def _say_how_it_ended(result: RunResult, folder: RunFolder, progress: ProgressLine, *, total: int) -> None:
    if result.best is None:
        progress.say("nothing was validated: model/ holds the last weights")
    if result.skipped:
        progress.say(f"{result.skipped} steps were skipped, see {folder.log}")
    if result.interrupted:
        progress.say(
            f"interrupted after {result.iterations} of {total} iterations; last weights in {folder.last}; "
            "the same command goes on from there"
        )
    elif result.iterations < total:
        progress.say(f"stopped early after {result.iterations} of {total} iterations: no better validation for long")
