from __future__ import annotations

from collections.abc import Callable

import torch

from featalign.spec import Classes
from featalign.training import Recipe
from featalign.training.module import Learner, Trainee, seed_step, step_seed
from featalign.training.semantic import build_model

IMAGES = torch.full((2, 3, 64, 64), 100, dtype=torch.uint8)
MASKS = torch.zeros(2, 64, 64, dtype=torch.int64)


def trainee_of(recipe: Recipe) -> Trainee:
    torch.manual_seed(0)
    return Trainee(build_model(recipe, Classes.numbered(3)).train(), recipe)


def losses(recipe: Recipe, *, rank: int = 0) -> dict[str, float]:
    learner = Learner(trainee_of(recipe).model, recipe)
    torch.rand(7)
    seed_step(recipe.training.seed, 0, rank)
    return {
        name: value.item() for name, value in learner({"image": IMAGES, "mask": MASKS, "name": ["a", "b"]}, 0).items()
    }


def test_a_step_is_a_function_of_seed_step_and_process(tiny: Callable[..., Recipe]) -> None:
    """Dropout and query points included, whatever was drawn before."""
    recipe = tiny("training.query=points", "training.seed=3")
    assert losses(recipe) == losses(recipe)
    assert losses(recipe) != losses(tiny("training.query=points", "training.seed=4"))
    assert losses(recipe) != losses(recipe, rank=1)


def test_step_seeds_differ() -> None:
    """In the 32 bits that torch's generator on the CPU looks at."""
    seeds = {step_seed(seed, step, rank) % 2**32 for seed in range(3) for step in range(10_000) for rank in range(8)}
    assert len(seeds) == 240_000


def test_running_average_is_what_is_kept(tiny: Callable[..., Recipe]) -> None:
    trainee = trainee_of(tiny("training.ema=0.75"))
    assert trainee.average is not None
    expected = [p.detach().clone() for p in trainee.model.parameters()]
    for step in range(3):
        with torch.no_grad():
            for parameter in trainee.model.parameters():
                parameter.add_(1.0)
        trainee.average.update_parameters(trainee.model)
        current = [p.detach() for p in trainee.model.parameters()]
        decay = 0.75 if step else 0.0  # the first update starts the average
        expected = [decay * e + (1 - decay) * c for e, c in zip(expected, current, strict=True)]
    assert trainee.kept is not trainee.model
    assert trainee.kept.config == trainee.model.config
    for kept, wanted in zip(trainee.kept.parameters(), expected, strict=True):
        torch.testing.assert_close(kept, wanted)


def test_whole_numbers_are_not_averaged(tiny: Callable[..., Recipe]) -> None:
    """82 times 0.9 and 82 times 0.1 are 81 when each is rounded down."""
    recipe = tiny("training.ema=0.9")
    model = build_model(recipe, Classes.numbered(3))
    model.register_buffer("index", torch.arange(200), persistent=False)
    trainee = Trainee(model, recipe)
    assert trainee.average is not None
    for _ in range(3):
        trainee.average.update_parameters(model)
    assert torch.equal(trainee.kept.get_buffer("index"), torch.arange(200))
    for name, kept in trainee.kept.named_buffers():
        assert torch.equal(kept, model.get_buffer(name)), name


def test_optimizer_leaves_the_average_alone(tiny: Callable[..., Recipe]) -> None:
    trainee = trainee_of(tiny("training.ema=0.9"))
    held = {id(p) for group in trainee.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in trainee.model.parameters()}
