from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from featalign.errors import ConfigError
from featalign.models import create_model, list_detectors
from featalign.spec import Classes
from featalign.training import Recipe
from featalign.training.determinism import require_deterministic
from featalign.training.module import Learner
from featalign.training.splits import Splits
from featalign.training.tasks import task_of

RECIPE = Recipe().with_overrides(["data.crop=64", "training.query=mixed", "loss.lovasz=0.5", "loss.dice=0.5"])
SPLITS = Splits([], None, Classes.numbered(3), None)
BATCH = task_of(RECIPE).drawn(RECIPE.data, SPLITS, device=torch.device("cpu"))


class Backwards(torch.autograd.Function):
    """Forwards nothing; backwards an operation that torch knows to have no deterministic form, on the CPU too."""

    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient.clone().put_(torch.tensor([0]), gradient.new_zeros(1))


class Losing(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, batch, step):
        return {"loss": self.part(self.weight * batch["image"].float()).mean()}


class PutForwards(nn.Module):
    def forward(self, x):
        return x.clone().put_(torch.tensor([0]), x.new_zeros(1))


class PutBackwards(nn.Module):
    def forward(self, x):
        return Backwards.apply(x)


@pytest.mark.parametrize("part", [PutForwards(), PutBackwards()])
def test_operation_and_place_are_named(part):
    with pytest.raises(
        ConfigError, match=r"training\.deterministic: put_.* on cpu; it is used in .*test_determinism\.py"
    ):
        require_deterministic(Losing(part), BATCH)
    assert not torch.are_deterministic_algorithms_enabled()


def test_other_faults_are_not_taken_for_it():
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        require_deterministic(Losing(nn.Linear(3, 3)), BATCH)


@pytest.mark.parametrize("name", ["fpn", "alignseg", "fapn", "sfnet"])
def test_networks_can_on_a_cpu_and_are_left_alone(name):
    torch.manual_seed(0)
    learner = Learner(create_model(name, backbone="resnet10t", width=16, classes=3), RECIPE).eval()
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    drawn = torch.random.get_rng_state()
    require_deterministic(learner, BATCH)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert not learner.training
    assert all(torch.equal(value, before[key]) for key, value in learner.state_dict().items())
    assert all(parameter.grad is None for parameter in learner.parameters())


@pytest.mark.parametrize("name", list_detectors())
def test_detectors_can_on_a_cpu(name):
    if name == "maskformer":
        pytest.importorskip("transformers", reason="needs featalign[maskformer]")
    options = {"min_size": None, "detections": 10}
    recipe = Recipe.from_content(
        {
            "model": {"name": name, "backbone": "resnet10t", "align": "fapn", "width": 64, "options": options},
            "data": {"crop": 64},
        }
    )
    task = task_of(recipe)
    splits = replace(SPLITS, things=(1, 2) if recipe.task == "panoptic" else None)
    batch = task.drawn(recipe.data, splits, device=torch.device("cpu"))
    learner = task.learner(task.build(recipe, splits, pretrained=False), recipe, class_weights=None)
    require_deterministic(learner, batch)
    assert learner(batch, 0)["loss"].isfinite()
