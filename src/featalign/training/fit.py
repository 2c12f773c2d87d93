"""The training loop: steps, validations and checkpoints in an order that a restart meets again exactly.

After a step: a row of the log; a checkpoint if one is due; a validation if one is due, and a checkpoint again if it
found a better model, before that is stored. A process that ends anywhere in this has changed nothing that the next one,
from the last checkpoint, does not do again bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featalign.data import TrainingLoader
from featalign.training.checkpoints import Checkpoint, write_checkpoint
from featalign.training.interrupts import Interrupts
from featalign.training.module import Trainee
from featalign.training.recorder import Recorder
from featalign.training.steps import Stepper
from featalign.training.validation import Validation
from featalign.training.world import World


@dataclass(frozen=True)
class Fit:
    """The parts that a run goes through.

    Attributes:
        trainee, stepper, loader, recorder: what a checkpoint holds the state of.
        validation: None where there is nothing to validate on.
        checkpoints: the folder that they go to.
        save_best: stores the network as the best so far.
        data: what identifies the samples, kept with every checkpoint.
    """

    trainee: Trainee
    stepper: Stepper
    loader: TrainingLoader[Any, Any]
    validation: Validation | None
    recorder: Recorder
    checkpoints: Path
    save_best: Callable[[], None]
    world: World
    data: dict[str, object]

    def run(self, start: Checkpoint | None, interrupts: Interrupts) -> tuple[int, bool]:
        """Train from ``start`` (None: from the beginning) until done, stopped early, or asked to end.

        Returns:
            The steps made, and whether nothing is left to do.
        """
        done, validated = (0, True) if start is None else self._go_on(start)
        iterations, batches = self.trainee.recipe.training.iterations, iter(self.loader)
        self.trainee.model.train()
        self.recorder.start(done)
        if not validated and not self._validate_if_due(done, interrupts):
            return done, False
        while done < iterations and not self._stops_early():
            step = self.stepper.take(done, batches, stop=lambda: interrupts.asked)
            done += 1
            self.recorder.step(done, step)
            if step.stop or self._checkpoint_due(done):
                self._save(done, validated=False)
            if step.stop or not self._validate_if_due(done, interrupts):
                return done, False
        return done, True

    def _go_on(self, start: Checkpoint) -> tuple[int, bool]:
        self.trainee.restore(start.model, start.average, start.trainer)
        self.stepper.restore_scaler(start.trainer["scaler"])
        self.stepper.guard.restore(start.record["guard"])
        self.recorder.restore(start.record["recorder"])
        self.loader.load_state_dict(start.record["loader"])
        best = self.recorder.best
        if start.validated and best is not None and best["step"] == start.step:
            self.save_best()  # the end may have come between this checkpoint and the storing
        return start.step, start.validated

    def _validate_if_due(self, done: int, interrupts: Interrupts) -> bool:
        """Validate if it is time; False if asked to end meanwhile, with the validation left to do."""
        if self.validation is None or not self._validation_due(done):
            return True
        self.recorder.validation_starts(len(self.validation.samples) // self.world.size)
        found = self.validation(self.trainee.kept, seen=lambda: self._image_seen(interrupts))
        if found is None:
            self._save(done, validated=False)
            return False
        if self.recorder.validated(done, found):
            self._save(done, validated=True)
            self.save_best()
        return True

    def _image_seen(self, interrupts: Interrupts) -> bool:
        """Whether to give the validation up: alone, at once; several processes can only agree between steps."""
        self.recorder.progress.validated_image()
        return interrupts.asked and self.world.size == 1

    def _validation_due(self, done: int) -> bool:
        training = self.trainee.recipe.training
        return done > 0 and (done % training.validate_every == 0 or done == training.iterations)

    def _checkpoint_due(self, done: int) -> bool:
        training = self.trainee.recipe.training
        every = training.checkpoint_every
        return done == training.iterations or (every is not None and done % every == 0)

    def _stops_early(self) -> bool:
        patience = self.trainee.recipe.training.early_stop
        return patience is not None and self.recorder.without_better >= patience

    def _save(self, done: int, *, validated: bool) -> None:
        if not self.world.first:
            return
        average = self.trainee.average
        checkpoint = Checkpoint(
            step=done,
            validated=validated,
            model=self.trainee.model.state_dict(),
            average=None if average is None else average.state_dict(),
            trainer=self.stepper.trainer_state(),
            record={
                "recorder": self.recorder.state(),
                "guard": self.stepper.guard.state(),
                "loader": self.loader.state_dict(),
                "data": self.data,
            },
        )
        write_checkpoint(checkpoint, self.checkpoints)
