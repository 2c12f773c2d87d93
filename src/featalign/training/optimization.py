"""The optimizer of a recipe: which parameters learn at which rate, and which of them decay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from featalign.errors import ConfigError
from featalign.layers import OffsetConv2d
from featalign.training.recipe import TrainingRecipe
from featalign.training.schedules import schedule

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.Embedding)  # and tables of queries
_POSITIONS = ("frequencies", "pos_embed", "relative_position_bias_table")  # tables, but not weights of a product


def build_optimizer(model: nn.Module, recipe: TrainingRecipe) -> tuple[Optimizer, LambdaLR]:
    """The optimizer over every trainable parameter, and the scheduler to step once per iteration.

    Raises:
        ConfigError: for a rate of offsets where no layer predicts any.
    """
    groups = parameter_groups(
        model,
        lr=recipe.lr,
        head_lr_multiplier=recipe.head_lr_multiplier,
        offset_lr_multiplier=recipe.offset_lr_multiplier,
        weight_decay=recipe.weight_decay,
        decay_norms=recipe.decay_norms,
    )
    optimizer: Optimizer = AdamW(groups) if recipe.optimizer == "adamw" else SGD(groups, momentum=recipe.momentum)
    return optimizer, LambdaLR(optimizer, [schedule(recipe, lr=group["lr"]) for group in groups])


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    head_lr_multiplier: float = 1.0,
    offset_lr_multiplier: float = 1.0,
    weight_decay: float = 0.0,
    decay_norms: bool = True,
) -> list[dict[str, Any]]:
    """The trainable parameters of ``model.backbone`` at ``lr`` and all others at ``lr * head_lr_multiplier``.

    The papers give one rate; IFA's published code trains decoder and auxiliary head at ten times the backbone's.
    With an ``offset_lr_multiplier`` other than 1, the layers that predict offsets are a group of their own, at that
    share of the head's rate. Without ``decay_norms``, norms, biases and position tables are groups of their own
    (``*_undecayed``) without decay. Groups without parameters are left out.

    Raises:
        ConfigError: for an ``offset_lr_multiplier`` where no layer predicts offsets.
    """
    head_lr = lr * head_lr_multiplier
    rates = {"backbone": lr, "head": head_lr, "offsets": head_lr * offset_lr_multiplier}
    parts = dict.fromkeys(map(id, model.get_submodule("backbone").parameters()), "backbone")
    if offset_lr_multiplier != 1:
        parts |= dict.fromkeys(map(id, offset_parameters(model)), "offsets")
    spared = set() if decay_norms else {id(parameter) for parameter in undecayed(model)}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {
            "name": f"{part}{'_undecayed' if without else ''}",
            "params": [p for p in trained if parts.get(id(p), "head") == part and (id(p) in spared) == without],
            "lr": rate,
            "weight_decay": 0.0 if without else weight_decay,
        }
        for part, rate in rates.items()
        for without in (False, True)
    ]
    return [group for group in groups if group["params"]]


def offset_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Of the layers that predict offsets.

    Raises:
        ConfigError: where no layer does.
    """
    predicting = (module for module in model.modules() if isinstance(module, OffsetConv2d))
    found = [parameter for module in predicting for parameter in module.parameters()]
    if not found:
        raise ConfigError("no layer of this model predicts offsets; leave training.offset_lr_multiplier at 1")
    return found


def undecayed(model: nn.Module) -> Iterator[nn.Parameter]:
    """What weight decay would only hold back: norms, biases and other vectors, frequencies and tables of positions."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim <= 1 or isinstance(module, _NORMS) or name in _POSITIONS:
                yield parameter
