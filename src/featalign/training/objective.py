"""The loss of one batch: the parts that a recipe names, on the main output and on the auxiliary one (IFA, 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from featalign.losses import (
    class_balanced_cross_entropy,
    cross_entropy,
    dice_loss,
    lovasz_softmax,
    ohem_cross_entropy,
    ohem_cross_entropy_alignseg,
)
from featalign.models import Segmentor
from featalign.training.annealing import annealed
from featalign.training.questions import ask, asks_at_points, labels_at, shown
from featalign.training.recipe import LossRecipe, TrainingRecipe
from featalign.training.uncertain import uncertain_points


@dataclass(frozen=True)
class Objective:
    """The loss of one batch and its parts; ``total`` carries the gradient."""

    total: Tensor
    main: Tensor
    auxiliary: Tensor | None


def objective(
    model: Segmentor,
    images: Tensor,
    masks: Tensor,
    *,
    step: int,
    training: TrainingRecipe,
    loss: LossRecipe,
    class_weights: Tensor | None = None,
) -> Objective:
    """The loss of one batch at iteration ``step``.

    Args:
        model: the network, in training mode; its ``classes.ignore_index`` counts nowhere.
        images: normalized, (B, C, H, W).
        masks: class ids, (B, H, W).
        training: says where the model is asked, see :func:`featalign.training.questions.ask`.
        loss: says what its answers cost.
        class_weights: (K,), from :func:`~featalign.training.class_counts.class_weights`; None weighs all alike.
    """
    features = model.encode(shown(images, training.input_scale))
    costs = Costs(loss, ignore_index=model.classes.ignore_index, class_weights=class_weights)
    with annealed(model, training, step=step):
        logits, labels = ask(model, features, masks, recipe=training, step=step)
        if asks_at_points(training.query, step):
            logits, labels = logits.flatten(2), labels.flatten(1)  # neighbours there need not be neighbours here
        main = costs.main(logits, labels)
        if training.query == "uncertain":
            points = uncertain_points(logits)
            main = main + costs.main(model.query(features, points, "dense"), labels_at(masks, points))
    size = (masks.shape[-2], masks.shape[-1])
    auxiliary_logits = model.auxiliary_logits(features, size) if loss.auxiliary_weight > 0 else None
    if auxiliary_logits is None:
        return Objective(main, main.detach(), None)
    auxiliary = costs.auxiliary(auxiliary_logits, masks)
    return Objective(main + loss.auxiliary_weight * auxiliary, main.detach(), auxiliary.detach())


@dataclass(frozen=True)
class Costs:
    """The losses of a recipe as functions of logits and labels."""

    recipe: LossRecipe
    ignore_index: int
    class_weights: Tensor | None = None

    def main(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy in the recipe's form, and the regional losses that it adds to it."""
        total = self._cross_entropy(self.recipe.main, logits, labels)
        if self.recipe.lovasz:
            total = total + self.recipe.lovasz * lovasz_softmax(logits, labels, ignore_index=self.ignore_index)
        if self.recipe.dice:
            total = total + self.recipe.dice * dice_loss(logits, labels, ignore_index=self.ignore_index)
        return total

    def auxiliary(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Of the auxiliary head's logits (B, K, H, W) at the labels (B, H, W)."""
        return self._cross_entropy(self.recipe.auxiliary, logits, masks)

    def _cross_entropy(self, kind: str, logits: Tensor, labels: Tensor) -> Tensor:
        if kind == "balanced":
            return class_balanced_cross_entropy(logits, labels, ignore_index=self.ignore_index)
        if kind == "cross_entropy":
            return cross_entropy(logits, labels, ignore_index=self.ignore_index, weight=self.class_weights)
        mine = {"ohem": ohem_cross_entropy, "ohem_alignseg": ohem_cross_entropy_alignseg}[kind]
        kept = max(1, round(self.recipe.keep * labels.numel()))  # 0 would switch the mining off
        return mine(
            logits,
            labels,
            threshold=self.recipe.threshold,
            min_kept=kept,
            ignore_index=self.ignore_index,
            weight=self.class_weights,
        )
