"""The optimizer and its schedule: SGD, and 'poly' by iteration (IFA section 4.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from featalign.training.recipe import TrainingRecipe


def poly_factor(step: int, *, total: int, power: float = 0.9) -> float:
    """``(1 - step / total) ** power``: what the learning rate of step 0, 1, … is multiplied by; 0 from ``total`` on."""
    return max(0.0, 1 - step / total) ** power


def warmup_factor(step: int, *, steps: int) -> float:
    """A line from near 0 to 1 over the first ``steps`` steps, then 1. No step has a learning rate of exactly 0."""
    return min(1.0, (step + 1) / (steps + 1))


def schedule(recipe: TrainingRecipe) -> Callable[[int], float]:
    """Factor on every learning rate as a function of the step: the poly schedule under its warm-up."""
    return lambda step: (
        poly_factor(step, total=recipe.iterations, power=recipe.power) * warmup_factor(step, steps=recipe.warmup)
    )


def parameter_groups(model: nn.Module, *, lr: float, head_lr_multiplier: float) -> list[dict[str, Any]]:
    """The trainable parameters of ``model.backbone`` at ``lr`` and all others at ``lr * head_lr_multiplier``.

    The paper gives one rate; its published code trains decoder and auxiliary head at ten times the backbone's.
    """
    backbone = [p for p in model.get_submodule("backbone").parameters() if p.requires_grad]
    inside = {id(p) for p in backbone}
    head = [p for p in model.parameters() if p.requires_grad and id(p) not in inside]
    groups = [
        {"name": "backbone", "params": backbone, "lr": lr},
        {"name": "head", "params": head, "lr": lr * head_lr_multiplier},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(model: nn.Module, recipe: TrainingRecipe) -> tuple[SGD, LambdaLR]:
    """SGD over every trainable parameter, and the scheduler to step once per iteration."""
    groups = parameter_groups(model, lr=recipe.lr, head_lr_multiplier=recipe.head_lr_multiplier)
    optimizer = SGD(groups, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    return optimizer, LambdaLR(optimizer, schedule(recipe))
