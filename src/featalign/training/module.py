"""What training changes: the network with its loss, its running average, its optimizer and schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from featalign.data import Batch, normalize
from featalign.models import Segmentor
from featalign.training.network import Network
from featalign.training.objective import objective
from featalign.training.optimization import build_optimizer
from featalign.training.recipe import Recipe


class Learner(nn.Module):
    """From a batch to its losses in one pass: what Lightning wraps for several processes and half precision."""

    def __init__(self, model: Segmentor, recipe: Recipe, *, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """The losses of step ``step`` by name."""
        found = objective(
            self.model,
            normalize(batch["image"], self.model.normalization),
            batch["mask"],
            step=step,
            training=self.recipe.training,
            loss=self.recipe.loss,
            class_weights=self.class_weights,
        )
        losses = {"loss": found.total, "main_loss": found.main}
        return losses if found.auxiliary is None else {**losses, "auxiliary_loss": found.auxiliary}


class Trainee:
    """All that a step changes; ``kept`` is the network to validate and to store."""

    def __init__(self, model: Network, recipe: Recipe) -> None:
        self.model = model
        self.recipe = recipe
        self.optimizer: Optimizer
        self.scheduler: LambdaLR
        self.optimizer, self.scheduler = build_optimizer(model, recipe.training)
        self.average: AveragedModel | None = None
        if recipe.training.ema is not None:
            self.average = AveragedModel(model, multi_avg_fn=_average(recipe.training.ema), use_buffers=True)

    @property
    def kept(self) -> Network:
        """The running average of the weights if the recipe asks for one, else the network itself."""
        return self.model if self.average is None else cast(Network, self.average.module)

    @property
    def lr(self) -> float:
        """Learning rate of the next step, of the backbone where it is trained."""
        return float(self.optimizer.param_groups[0]["lr"])

    def trainer_state(self) -> dict[str, Any]:
        """Tensors and plain values for :meth:`restore`."""
        return {"optimizer": self.optimizer.state_dict(), "scheduler": self.scheduler.state_dict()}

    def restore(self, model: dict[str, Tensor], average: dict[str, Tensor] | None, trainer: dict[str, Any]) -> None:
        """Take up the states of an earlier process."""
        self.model.load_state_dict(model)
        if self.average is not None and average is not None:
            self.average.load_state_dict(average)
        self.optimizer.load_state_dict(trainer["optimizer"])
        self.scheduler.load_state_dict(trainer["scheduler"])


def _average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """The running average, for :class:`AveragedModel`; whole numbers, such as Swin's table of indices, are copied."""
    blend = get_ema_multi_avg_fn(decay)

    def update(average: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int) -> None:
        if average[0].is_floating_point():  # all of them: they come by dtype
            blend(average, current, updates)
        else:
            for kept, now in zip(average, current, strict=True):
                kept.copy_(now)

    return update


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """A seed for each step and process: neighbours are unrelated (torch's generators mix it), a restart meets the same.

    >>> step_seed(0, 5), step_seed(0, 5, rank=1) == step_seed(0, 5)
    (5, False)
    """
    return (seed * 1_000_003 + step + rank * 2_654_435_761) % 2**32  # torch's CPU generator looks at 32 bits


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Everything random in a step, dropout and query points, follows from (seed, step, process) alone."""
    torch.manual_seed(step_seed(seed, step, rank))
