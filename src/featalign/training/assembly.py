"""The parts of a run put together."""

from __future__ import annotations

from lightning_fabric import Fabric

from featalign.training.beginning import Beginning
from featalign.training.engine import lay_out, share_state
from featalign.training.fit import Fit
from featalign.training.module import Trainee
from featalign.training.recipe import Recipe
from featalign.training.recorder import Recorder
from featalign.training.resume import identity
from featalign.training.run_folder import RunFolder
from featalign.training.splits import Splits, training_loader
from featalign.training.steps import Stepper
from featalign.training.tasks import Task, task_of
from featalign.training.validation import Validation
from featalign.training.world import World


def assemble(
    begun: Beginning,
    recipe: Recipe,
    splits: Splits,
    folder: RunFolder,
    *,
    fabric: Fabric,
    world: World,
    recorder: Recorder,
) -> Fit:
    """Everything that a run needs, each part knowing only what it works on."""
    task = task_of(recipe)
    trainee, stepper = _learning(begun, recipe, task, fabric=fabric, world=world)
    on_gpu = fabric.device.type == "cuda"
    validation = None
    if splits.val is not None:
        collated, judge = task.judged(splits)
        validation = Validation(
            splits.val, collated=collated, judge=judge, workers=recipe.data.workers, fabric=fabric, world=world
        )
    return Fit(
        trainee=trainee,
        stepper=stepper,
        loader=training_loader(
            splits, recipe, counts=begun.counts, world=world, pin_memory=on_gpu, collated=task.collated(splits)
        ),
        validation=validation,
        recorder=recorder,
        checkpoints=folder.checkpoints,
        save_best=lambda: task.save(trainee.kept, folder.model) if world.first else None,
        world=world,
        data=identity(splits),
    )


def _learning(begun: Beginning, recipe: Recipe, task: Task, *, fabric: Fabric, world: World) -> tuple[Trainee, Stepper]:
    """All processes begin with the first one's weights."""
    model = begun.model
    share_state(model)
    lay_out(model, fabric.device, precision=recipe.training.precision)
    learner = task.learner(model, recipe, class_weights=begun.class_weights)
    trainee = Trainee(model, recipe)
    wrapped, optimizer = fabric.setup(learner, trainee.optimizer)
    stepper = Stepper(fabric, wrapped, optimizer, trainee, world=world, optional_losses=task.optional_losses)
    return trainee, stepper
