from __future__ import annotations

import math

import pytest
import torch

from featalign.align.encoding import PositionEncoding
from featalign.models import create_model
from featalign.training.annealing import annealed
from featalign.training.recipe import TrainingRecipe


@pytest.mark.parametrize("kind", ["fixed", "learned", "sine", "cosine"])
def test_frequencies_come_in_from_low_to_high(kind):
    code = PositionEncoding(kind, dims=24)
    offsets = torch.rand(5, 2) * 2 - 1
    full = code(offsets)
    per_axis = code.frequencies.shape[0] // 2
    for revealed in (0.0, 0.3, 0.5, 1.0):
        code.revealed = revealed
        shares = [(1 - math.cos(math.pi * min(max(revealed * per_axis - k, 0), 1))) / 2 for k in range(per_axis)]
        expected = full * torch.tensor([1.0, 1.0] + shares * (2 * code.functions))
        torch.testing.assert_close(code(offsets), expected)


def test_schedule_of_a_run():
    model = create_model("fpn", backbone="resnet10t", width=16, classes=3)
    codes = [module for module in model.modules() if isinstance(module, PositionEncoding)]
    recipe = TrainingRecipe(iterations=100, anneal_position=0.4)
    seen = []
    for step in (0, 10, 40, 99):
        with annealed(model, recipe, step=step):
            seen.append({code.revealed for code in codes})
        assert {code.revealed for code in codes} == {1.0}
    assert seen == [{0.0}, {0.25}, {1.0}, {1.0}]
    assert codes


def test_off_by_default():
    model = create_model("fpn", backbone="resnet10t", width=16, classes=3)
    with annealed(model, TrainingRecipe(), step=0):
        assert all(module.revealed == 1 for module in model.modules() if isinstance(module, PositionEncoding))
