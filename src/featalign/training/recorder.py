"""Keeps the books of a run: its log, its progress line, its best validation and its clock."""

from __future__ import annotations

import math
from typing import Any

from featalign.training.judging import Judgement
from featalign.training.log import RunLog
from featalign.training.progress import ProgressLine
from featalign.training.recipe import TrainingRecipe
from featalign.training.resources import peak_memory
from featalign.training.steps import Step
from featalign.training.tensorboard import TensorBoardLog
from featalign.training.timing import Stopwatch


class Recorder:
    """``best`` is the log's row of the best validation so far, None before the first.

    ``without_better`` counts the validations since. ``validates``: whether the run has any.
    """

    def __init__(
        self,
        training: TrainingRecipe,
        *,
        validates: bool,
        log: RunLog,
        board: TensorBoardLog | None,
        progress: ProgressLine,
    ) -> None:
        self._training = training
        self._images = training.batch * training.accumulate
        self._log, self._board, self.progress = log, board, progress
        self._stopwatch = Stopwatch(
            iterations=training.iterations, validate_every=training.validate_every if validates else None
        )
        self.best: dict[str, Any] | None = None
        self.without_better = 0

    @property
    def seconds_per_iteration(self) -> float:
        return self._stopwatch.seconds_per_iteration

    def start(self, step: int) -> None:
        """Steps begin, after ``step`` of them."""
        self.progress.step(step)
        self._stopwatch.start()

    def step(self, done: int, step: Step) -> None:
        """Step number ``done``, counted from 1, was taken."""
        self._stopwatch.step()
        self.progress.step(done)
        if step.skipped:
            row = {**step.losses, "gradient_norm": step.gradient_norm, "files": list(step.files)}
            self._write("skipped", step=done, **row)
            self.progress.say(f"step {done}  skipped: not finite on {', '.join(step.files)}")
        elif done % self._training.log_every == 0 or done in (1, self._training.iterations):
            row = {**step.losses, "gradient_norm": step.gradient_norm, "lr": step.lr, **self._pace()}
            self._write("train", step=done, **row)
            self.progress.row(done, row)

    def validation_starts(self, images: int) -> None:
        self._stopwatch.start()
        self.progress.start_validation(images)

    def validated(self, done: int, found: Judgement) -> bool:
        """Write down a validation; whether it is the best so far. An equal one is not."""
        row = {"step": done, "metric": found.metric, **found.row}
        earlier = math.nan if self.best is None else self.best[found.metric]
        better = math.isnan(earlier) or row[found.metric] > earlier  # nan: there was nothing to score
        self.without_better = 0 if better else self.without_better + 1
        if better:
            self.best = row
        self._write("validation", **row, best=better)
        self.progress.end_validation(f"step {done}  validation {found.text}{'  (best so far)' if better else ''}")
        self._stopwatch.validation()
        return better

    def state(self) -> dict[str, Any]:
        """Plain values for :meth:`restore`; the log is flushed to disk up to here."""
        return {
            "best": self.best,
            "without_better": self.without_better,
            "stopwatch": self._stopwatch.state(),
            "log_bytes": self._log.secure(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken: rows that were logged later are cut off, and will be written again."""
        self.best, self.without_better = state["best"], state["without_better"]
        self._stopwatch.restore(state["stopwatch"])
        self._log.cut(state["log_bytes"])

    def _write(self, kind: str, *, step: int, **values: object) -> None:
        self._log.write(kind, step=step, **values)
        if self._board is not None:
            self._board.write(kind, step=step, **values)

    def _pace(self) -> dict[str, float]:
        return {
            "images_per_second": self._stopwatch.steps_per_second() * self._images,
            "seconds_left": self._stopwatch.seconds_left,
            **peak_memory(),
        }
