from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from featalign.data import collate
from featalign.errors import FeatalignError
from featalign.spec import Classes
from featalign.training import Recipe
from featalign.training.module import SegmentationModule, step_seed
from featalign.training.run import build_model

BATCH = {
    "image": torch.full((2, 3, 64, 64), 100, dtype=torch.uint8),
    "mask": torch.zeros(2, 64, 64, dtype=torch.int64),
    "name": ["a0", "a1"],
}


def module_of(recipe: Recipe) -> SegmentationModule:
    torch.manual_seed(0)
    return SegmentationModule(build_model(recipe, Classes.numbered(3)), recipe).train()


def test_a_step_is_a_function_of_seed_and_step(tiny: Callable[..., Recipe]) -> None:
    """Dropout and query points included, whatever was drawn before."""
    module = module_of(tiny("training.query=points", "training.seed=3"))
    values = []
    for _ in range(2):
        torch.rand(7)
        values.append(module.training_step(BATCH, 0)["values"])
    assert values[0] == values[1]
    other = module_of(tiny("training.query=points", "training.seed=4")).training_step(BATCH, 0)["values"]
    assert other != values[0]


def test_step_seeds_differ() -> None:
    assert len({step_seed(seed, step) for seed in range(20) for step in range(1000)}) == 20_000


def test_loss_that_is_not_finite_names_step_and_files(tiny: Callable[..., Recipe]) -> None:
    module = module_of(tiny())
    torch.nn.init.constant_(next(module.model.backbone.parameters()), torch.inf)
    with pytest.raises(FeatalignError, match=r"the loss became nan at step 0 on a0, a1; lower training\.lr"):
        module.training_step(BATCH, 0)


def test_running_average_is_what_is_kept(tiny: Callable[..., Recipe]) -> None:
    module = module_of(tiny("training.ema=0.75"))
    expected = [p.detach().clone() for p in module.model.parameters()]
    for step in range(3):
        with torch.no_grad():
            for parameter in module.model.parameters():
                parameter.add_(1.0)
        module.on_train_batch_end(None, None, step)
        current = [p.detach() for p in module.model.parameters()]
        decay = 0.75 if step else 0.0  # the first update starts the average
        expected = [decay * e + (1 - decay) * c for e, c in zip(expected, current, strict=True)]
    assert module.kept is not module.model
    assert module.kept.config == module.model.config
    for kept, wanted in zip(module.kept.parameters(), expected, strict=True):
        torch.testing.assert_close(kept, wanted)


def test_optimizer_leaves_the_average_alone(tiny: Callable[..., Recipe]) -> None:
    module = module_of(tiny("training.ema=0.9"))
    groups: Any = module.configure_optimizers()["optimizer"].param_groups
    held = {id(p) for group in groups for p in group["params"]}
    assert held == {id(p) for p in module.model.parameters()}


def test_validation_counts_each_image_at_its_own_size(tiny: Callable[..., Recipe]) -> None:
    module = module_of(tiny()).eval()
    module.on_validation_epoch_start()
    pixels = 0
    for height, width in ((40, 52), (33, 7)):
        mask = torch.randint(0, 3, (height, width))
        mask[:2] = 255
        pixels += int((mask != 255).sum())
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
        batch: Any = collate([{"image": image, "mask": mask, "name": "a"}])
        with torch.no_grad():
            module.validation_step(batch, 0)
    module.on_validation_epoch_end()
    assert module._confusion.matrix.sum() == pixels
    assert module.scores is not None and 0 <= module.scores.miou <= 1
