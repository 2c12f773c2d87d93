from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from featalign.training.optimization import build_optimizer, parameter_groups, poly_factor, schedule
from featalign.training.recipe import TrainingRecipe


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(2, 3)
        self.head = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def rates(recipe: TrainingRecipe, steps: int) -> torch.Tensor:
    """The learning rates in force during each step of a loop that steps the schedule after the optimizer."""
    optimizer, scheduler = build_optimizer(Tiny(), recipe)
    rows = []
    for _ in range(steps):
        rows.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.golden
def test_poly_equals_the_published_schedule(golden_dir: Path) -> None:
    fixtures = sorted(golden_dir.glob("lr_ifa_poly*"))
    assert fixtures
    for fixture in fixtures:
        meta = json.loads((fixture / "meta.json").read_text())
        expected = load_file(fixture / "io.safetensors")["lr"]
        ctor, (backbone, head) = meta["ctor"], meta["ctor"]["base_lrs"]
        recipe = TrainingRecipe(
            iterations=ctor["epochs"] * ctor["data_size"],
            lr=backbone,
            head_lr_multiplier=head / backbone,
            power=ctor["power"],
        )
        torch.testing.assert_close(rates(recipe, len(expected)), expected, **meta["tolerance"])


def test_rate_past_the_end_is_zero() -> None:
    assert rates(TrainingRecipe(iterations=4), 8)[4:].abs().max() == 0
    assert isinstance(poly_factor(9, total=4), float)


def test_warmup_rises_to_the_schedule_and_never_starts_at_zero() -> None:
    plain, warm = (schedule(TrainingRecipe(iterations=100, warmup=warmup)) for warmup in (0, 10))
    ratios = [warm(step) / plain(step) for step in range(20)]
    assert ratios[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert ratios[10:] == [1.0] * 10


def test_optimizer_has_every_trainable_parameter_once() -> None:
    model = Tiny()
    model.head[0].bias.requires_grad_(False)
    backbone, head = parameter_groups(model, lr=0.1, head_lr_multiplier=10)
    assert (backbone["lr"], head["lr"]) == (0.1, 1.0)
    assert {id(p) for p in backbone["params"]} == {id(p) for p in model.backbone.parameters()}
    held = [id(p) for group in (backbone, head) for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_frozen_backbone_leaves_one_group() -> None:
    model = Tiny()
    model.backbone.requires_grad_(False)
    optimizer, _ = build_optimizer(model, TrainingRecipe())
    assert [group["name"] for group in optimizer.param_groups] == ["head"]
