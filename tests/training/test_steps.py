"""The steps of the training loop against steps made by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from featalign.data import Batch
from featalign.spec import Classes
from featalign.training import Recipe
from featalign.training.engine import open_fabric
from featalign.training.module import Learner, Trainee, seed_step
from featalign.training.semantic import build_model
from featalign.training.steps import Stepper
from featalign.training.world import World


def drawn(number: int) -> Batch:
    generator = torch.Generator().manual_seed(number)
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=generator, dtype=torch.uint8)
    return {"image": images, "mask": (images[:, 0] > 127).long(), "name": [f"{number}a", f"{number}b"]}


def mean_gradients(learner: Learner, step: int, batches: list[Batch]) -> dict[str, Tensor]:
    """Of the batches of one step, each by itself."""
    seed_step(learner.recipe.training.seed, step)
    sums: dict[str, Tensor] = {}
    for batch in batches:
        learner.zero_grad()
        learner(batch, step)["loss"].backward()
        for name, parameter in learner.model.named_parameters():
            if parameter.grad is not None:
                sums[name] = sums.get(name, 0) + parameter.grad / len(batches)
    return sums


def descend(model: nn.Module, gradients: dict[str, Tensor], *, lr: float, limit: float) -> float:
    """One step of plain SGD on the clipped gradient; its norm before."""
    norm = sum(gradient.double().square().sum() for gradient in gradients.values()) ** 0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in gradients:
                parameter -= lr * min(1, limit / float(norm)) * gradients[name]
    return float(norm)


def test_three_accumulated_and_clipped_steps(tiny: Callable[..., Recipe]) -> None:
    """What one step leaves behind, such as its gradient, is not in the next."""
    plain = ["training.momentum=0", "training.weight_decay=0", "training.schedule=constant", "training.query=mixed"]
    recipe = tiny("training.accumulate=2", "training.gradient_clip=0.5", "training.lr=0.1", *plain)
    torch.manual_seed(0)
    model = build_model(recipe, Classes.numbered(2)).train()
    expected = Learner(copy.deepcopy(model), recipe)
    world = World()
    fabric = open_fabric(world, device="cpu", precision="fp32")
    trainee = Trainee(model, recipe)
    learner, optimizer = fabric.setup(Learner(model, recipe), trainee.optimizer)
    stepper = Stepper(fabric, learner, optimizer, trainee, world=world)
    for step in range(3):
        batches = [drawn(2 * step), drawn(2 * step + 1)]
        taken = stepper.take(step, iter(batches), stop=lambda: False)
        norm = descend(expected.model, mean_gradients(expected, step, batches), lr=0.1, limit=0.5)
        torch.testing.assert_close(taken.gradient_norm, norm, rtol=1e-3, atol=0)
    for found, wanted in zip(model.parameters(), expected.model.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=5e-5)  # they move by 4e-3
