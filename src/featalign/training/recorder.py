"""Watches a run: writes its log, shows its progress, keeps its best model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from featalign.metrics import Scores
from featalign.spec import Classes
from featalign.training.log import RunLog
from featalign.training.module import SegmentationModule
from featalign.training.progress import ProgressLine
from featalign.training.resources import peak_memory
from featalign.training.timing import Stopwatch


class Recorder(Callback):
    """``best`` is the log's row of the best validation so far, None before the first."""

    def __init__(
        self,
        module: SegmentationModule,
        *,
        log: RunLog,
        progress: ProgressLine,
        stopwatch: Stopwatch,
        save_best: Callable[[], None],
    ) -> None:
        self._module = module
        self._log = log
        self._progress = progress
        self._stopwatch = stopwatch
        self._save_best = save_best
        self._lr = 0.0
        self.best: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stopwatch.start()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]  # afterwards it is the next step's

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._stopwatch.step()
        step, training = trainer.global_step, self._module.recipe.training
        self._progress.step(step)
        if step % training.log_every == 0 or step in (1, training.iterations):
            row = {
                **outputs["values"],
                "lr": self._lr,
                "images_per_second": self._stopwatch.steps_per_second() * training.batch,
                "seconds_left": self._stopwatch.seconds_left,
                **peak_memory(),
            }
            self._log.write("train", step=step, **row)
            self._progress.row(step, row)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stopwatch.start()
        self._progress.start_validation(int(sum(trainer.num_val_batches)))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._progress.validated_image()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the weights that were just validated; the best so far are saved at once."""
        assert self._module.scores is not None
        row = {"step": trainer.global_step, **scores_row(self._module.scores, self._module.model.classes)}
        better = (
            self.best is None or not row["miou"] <= self.best["miou"]
        )  # nan, from a split of void, never stays best
        if better:
            self.best = row
            self._save_best()
        self._log.write("validation", **row, best=better)
        self._progress.end_validation(
            f"step {row['step']}  validation mIoU {100 * row['miou']:.2f}  "
            f"pixel accuracy {100 * row['pixel_accuracy']:.2f}{'  (best so far)' if better else ''}"
        )
        self._stopwatch.validation()


def scores_row(scores: Scores, classes: Classes) -> dict[str, Any]:
    """Scores under the names of the classes; a class that never occurs has IoU nan (null in JSON)."""
    return {
        "miou": scores.miou,
        "pixel_accuracy": scores.pixel_accuracy,
        "mean_accuracy": scores.mean_accuracy,
        "iou": dict(zip(classes.names, scores.iou, strict=True)),
        "absent": [classes.names[i] for i in scores.absent],
    }
