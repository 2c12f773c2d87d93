"""One optimizer step: the gradient of some batches over all processes, judged before it changes anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from featalign.errors import FeatalignError
from featalign.training.engine import gathered, total
from featalign.training.guards import NonFiniteGuard
from featalign.training.module import Trainee, seed_step
from featalign.training.world import World


@dataclass(frozen=True)
class Step:
    """What one step gave: mean losses over all processes, and the norm of the gradient before clipping.

    ``stop``: some process was asked to stop. ``skipped``: the weights are as before.
    """

    losses: dict[str, float | None]
    gradient_norm: float
    lr: float
    stop: bool
    skipped: bool = False
    files: tuple[str, ...] = ()


class Stepper:
    """Takes the steps of ``trainee``, whose network ``learner`` (wrapped by Lightning) turns batches into losses.

    ``optional_losses``: those that are reported as None where ``learner`` gives none.
    """

    def __init__(
        self,
        fabric: Fabric,
        learner: nn.Module,
        optimizer: Any,
        trainee: Trainee,
        *,
        world: World,
        optional_losses: tuple[str, ...] = (),
    ) -> None:
        self._fabric, self._learner, self._optimizer = fabric, learner, optimizer
        self._optional = optional_losses
        self._trainee, self._world = trainee, world
        self._training = trainee.recipe.training
        self._scaler: torch.amp.GradScaler | None = getattr(fabric.strategy.precision, "scaler", None)
        self.guard = NonFiniteGuard(trainee.model, on_nan=self._training.on_nan)

    def take(self, step: int, batches: Iterator[Any], *, stop: Callable[[], bool]) -> Step:
        """Step ``step``, counted from 0, on the next batches. ``stop``: whether this process was asked to, so far.

        Raises:
            FeatalignError: if the loss or the gradient is not finite, and ``on_nan`` is "stop".
        """
        seed_step(self._training.seed, step, self._world.rank)
        self.guard.begin()
        names, values, files = self._gradient(step, batches)
        norm = self._clipped_norm()
        own_loss = float(values[0])
        *means, asked = (total(torch.cat([values, values.new_tensor([stop()])])) / self._world.size).tolist()
        losses = dict.fromkeys(self._optional) | dict(zip(names, means, strict=True))
        found = Step(losses, float(norm), self._trainee.lr, asked > 0)
        if math.isfinite(means[0]) and (self._scaler is not None or math.isfinite(found.gradient_norm)):
            self._apply(step + 1, found.gradient_norm)
            return found
        guilty = math.isfinite(means[0]) or not math.isfinite(own_loss)
        return self._leave_out(step + 1, found, files if guilty else [])

    def trainer_state(self) -> dict[str, Any]:
        """State of optimizer, schedule and gradient scaler."""
        return {**self._trainee.trainer_state(), "scaler": self._fabric.strategy.precision.state_dict()}

    def restore_scaler(self, state: dict[str, Any]) -> None:
        if state:
            self._fabric.strategy.precision.load_state_dict(state)

    def _gradient(self, step: int, batches: Iterator[Any]) -> tuple[list[str], Tensor, list[str]]:
        """Sums up the gradients of ``accumulate`` batches; names and means of their losses, and their files.

        Those of the step before are let go only now: the pass forwards takes their memory over, where at the end of the
        step the system would have taken it back, to clear it again page by page.
        """
        self._optimizer.zero_grad()
        passes, files, sums = self._training.accumulate, [], torch.zeros((), device=self._fabric.device)
        for number in range(passes):
            batch = self._fabric.to_device(next(batches))
            files += batch["name"]
            with self._fabric.no_backward_sync(self._learner, enabled=number < passes - 1):  # type: ignore[arg-type]
                losses = self._learner(batch, step)
                self._fabric.backward(losses["loss"] / passes)
            names = ["loss", *(name for name in losses if name != "loss")]
            sums = sums + torch.stack([losses[name].detach().float() for name in names]) / passes
        return names, sums, files

    def _clipped_norm(self) -> Tensor:
        """The norm of the gradient before it is clipped: what the log shows and the guard judges every step by.

        Reading the gradient once is the least that finds what is not finite in it; it is written to only to clip it.
        """
        self._fabric.strategy.precision.unscale_gradients(self._trainee.optimizer)
        learning = [parameter for parameter in self._trainee.model.parameters() if parameter.grad is not None]
        norm = get_total_norm([parameter.grad for parameter in learning if parameter.grad is not None])
        if self._training.gradient_clip is not None:
            clip_grads_with_norm_(learning, self._training.gradient_clip, norm)
        return norm

    def _apply(self, number: int, norm: float) -> None:
        """Make step ``number``, counted from 1 as in the log."""
        self._optimizer.step()
        self._trainee.scheduler.step()
        if self._trainee.average is not None:
            self._trainee.average.update_parameters(self._trainee.model)
        self.guard.passed(number, norm)
        if self._scaler is not None and self._scaler.get_scale() < 1:
            raise FeatalignError(
                f"gradients overflow fp16 at step {number}, even unscaled; use training.precision=bf16, or "
                "lower training.lr"
            )

    def _leave_out(self, number: int, found: Step, files: list[str]) -> Step:
        everyones = gathered(files)
        self.guard.failed(number, loss=found.losses["loss"] or 0.0, files=everyones)
        self._trainee.scheduler.step()
        if self._scaler is not None:
            self._scaler.update()
        return Step(found.losses, found.gradient_norm, found.lr, found.stop, skipped=True, files=tuple(everyones))
