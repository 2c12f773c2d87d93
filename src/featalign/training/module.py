"""The LightningModule: a network, its objective and its validation scores. Thin on purpose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from featalign.data import Sample, normalize
from featalign.errors import FeatalignError
from featalign.metrics import ConfusionMatrix, Scores, scores
from featalign.models import Segmentor
from featalign.training.objective import Objective, asks_at_points, objective
from featalign.training.optimization import build_optimizer
from featalign.training.recipe import Recipe


class SegmentationModule(LightningModule):
    """Trains ``model`` by ``recipe``; ``kept`` is the network to validate and to save, ``scores`` its latest result."""

    def __init__(self, model: Segmentor, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.scores: Scores | None = None
        self._confusion = self._empty_confusion()
        self._average: AveragedModel | None = None
        if recipe.training.ema is not None:
            self._average = AveragedModel(
                model, multi_avg_fn=get_ema_multi_avg_fn(recipe.training.ema), use_buffers=True
            )

    @property
    def kept(self) -> Segmentor:
        """The running average of the weights if the recipe asks for one, else the network itself."""
        return self.model if self._average is None else cast(Segmentor, self._average.module)

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> dict[str, Any]:
        """The loss of batch ``global_step``; everything random in it follows from (seed, step) alone."""
        training = self.recipe.training
        torch.manual_seed(step_seed(training.seed, self.global_step))
        found = objective(
            self.model,
            normalize(batch["image"], self.model.normalization),
            batch["mask"],
            at_points=asks_at_points(training.query, self.global_step),
            loss=self.recipe.loss,
            ignore_index=self.model.classes.ignore_index,
        )
        return {"loss": found.total, "values": self._checked(found, batch["name"])}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        if self._average is not None:
            self._average.update_parameters(self.model)

    def on_validation_epoch_start(self) -> None:
        self._confusion = self._empty_confusion()

    def validation_step(self, batch: Sample, batch_index: int) -> None:
        """One image of any size, judged at its mask's own resolution."""
        images = normalize(batch["image"], self.kept.normalization)
        logits = self.kept(images, size=batch["mask"].shape[-2:])
        self._confusion.update(logits.argmax(dim=1), batch["mask"])

    def on_validation_epoch_end(self) -> None:
        self.scores = scores(self._confusion.matrix)

    def configure_optimizers(self) -> Any:
        optimizer, scheduler = build_optimizer(self.model, self.recipe.training)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _empty_confusion(self) -> ConfusionMatrix:
        return ConfusionMatrix(len(self.model.classes), ignore_index=self.model.classes.ignore_index)

    def _checked(self, found: Objective, names: list[str]) -> dict[str, float | None]:
        """The losses as numbers. Looked at before the weights change, so that a bad batch cannot spoil them."""
        values = {
            "loss": found.total.item(),
            "main_loss": found.main.item(),
            "auxiliary_loss": None if found.auxiliary is None else found.auxiliary.item(),
        }
        if not math.isfinite(values["loss"] or 0.0):
            raise FeatalignError(
                f"the loss became {values['loss']} at step {self.global_step} on {', '.join(names)}; "
                "lower training.lr, set training.gradient_clip, or look at these files"
            )
        return values


def step_seed(seed: int, step: int) -> int:
    """A seed for each step: neighbours are unrelated (torch's generators mix it), and a resumed run meets the same."""
    return seed * 1_000_003 + step
