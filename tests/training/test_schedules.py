from __future__ import annotations

import pytest
import torch
from golden import Fixture, fixtures
from torch import nn

from featalign.training.optimization import build_optimizer
from featalign.training.recipe import TrainingRecipe
from featalign.training.schedules import cosine_factor, poly_factor, schedule, step_factor


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(2, 3)
        self.head = nn.Linear(3, 4)


def rates(recipe: TrainingRecipe, steps: int) -> torch.Tensor:
    """The learning rates in force during each step of a loop that steps the schedule after the optimizer."""
    optimizer, scheduler = build_optimizer(Tiny(), recipe)
    rows = []
    for _ in range(steps):
        rows.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return torch.tensor(rows, dtype=torch.float64)


def published(fixture: Fixture, **options: object) -> TrainingRecipe:
    """The recipe of an lr_ifa fixture, whose head learns faster than its backbone."""
    ctor = fixture.meta["ctor"]
    backbone, head = ctor["base_lrs"]
    total = ctor["epochs"] * ctor["data_size"]
    return TrainingRecipe(iterations=total, lr=backbone, head_lr_multiplier=head / backbone, **options)


@pytest.mark.golden
@pytest.mark.parametrize("name", ["lr_ifa_poly", "lr_ifa_cosine"])
def test_schedules_of_ifa(golden_dir, name):
    for fixture in fixtures(golden_dir, name):
        ctor = fixture.meta["ctor"]
        recipe = published(fixture, schedule=ctor["mode"], power=ctor["power"], lr_end=ctor["targetlr"])
        expected = fixture.io["lr"]
        torch.testing.assert_close(rates(recipe, len(expected)), expected, **fixture.meta["tolerance"])


@pytest.mark.golden
def test_schedule_of_alignseg(golden_dir):
    (fixture,) = fixtures(golden_dir, "lr_alignseg_poly")
    ctor, expected = fixture.meta["ctor"], fixture.io["lr"]
    recipe = TrainingRecipe(iterations=ctor["max_iter"], lr=ctor["base_lr"], power=ctor["power"])
    torch.testing.assert_close(rates(recipe, len(expected))[:, 0], expected, **fixture.meta["tolerance"])


def test_steps_of_fapn():
    """Supplement A: 0.01, reduced by a factor of 10 at 40k and 55k of 65k iterations."""
    recipe = TrainingRecipe(iterations=65_000, schedule="step", steps=(40_000, 55_000))
    at = schedule(recipe, lr=0.01)
    seen = [0.01 * at(step) for step in (0, 39_999, 40_000, 54_999, 55_000, 64_999)]
    assert seen == pytest.approx([0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001])
    assert step_factor(7, steps=(5, 6), gamma=0.5) == 0.25


def test_constant_stays():
    assert rates(TrainingRecipe(iterations=4, schedule="constant"), 6).unique().tolist() == [0.01]


@pytest.mark.parametrize("kind", ["poly", "cosine"])
def test_rate_past_the_end_stays_at_its_end(kind):
    """The published poly gives complex numbers there."""
    assert rates(TrainingRecipe(iterations=4, schedule=kind), 8)[4:].abs().max() < 1e-12
    assert isinstance(poly_factor(9, total=4), float)
    assert cosine_factor(9, total=4, end=0.25) == 0.25


def test_cosine_ends_every_rate_alike():
    recipe = TrainingRecipe(iterations=5, schedule="cosine", lr=0.1, head_lr_multiplier=10, lr_end=0.02)
    first, *_, last = rates(recipe, 6).tolist()
    assert first == pytest.approx([0.1, 1.0])
    assert last == pytest.approx([0.02, 0.02])


def test_warmup_rises_to_the_schedule_and_never_starts_at_zero():
    plain, warm = (schedule(TrainingRecipe(iterations=100, warmup=warmup), lr=0.01) for warmup in (0, 10))
    ratios = [warm(step) / plain(step) for step in range(20)]
    assert ratios[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert ratios[10:] == [1.0] * 10
