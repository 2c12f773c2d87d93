from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from featalign.errors import ConfigError
from featalign.models import create_model
from featalign.training.optimization import build_optimizer, parameter_groups
from featalign.training.recipe import TrainingRecipe


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(2, 3)
        self.head = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def by_name(groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {group["name"]: group for group in groups}


def test_optimizer_has_every_trainable_parameter_once():
    model = Tiny()
    model.head[0].bias.requires_grad_(False)
    backbone, head = parameter_groups(model, lr=0.1, head_lr_multiplier=10)
    assert (backbone["lr"], head["lr"]) == (0.1, 1.0)
    assert {id(p) for p in backbone["params"]} == {id(p) for p in model.backbone.parameters()}
    held = [id(p) for group in (backbone, head) for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_frozen_backbone_leaves_one_group():
    model = Tiny()
    model.backbone.requires_grad_(False)
    optimizer, _ = build_optimizer(model, TrainingRecipe())
    assert [group["name"] for group in optimizer.param_groups] == ["head"]


@pytest.mark.parametrize("backbone", ["resnet10t", "convnext_atto"])
def test_what_does_not_decay(backbone):
    """Norms, biases, layer scales and frequencies; every product's weights do."""
    model = create_model("fpn", backbone=backbone, width=16, classes=3)
    groups = by_name(parameter_groups(model, lr=0.1, weight_decay=0.3, decay_norms=False))
    assert set(groups) == {"backbone", "backbone_undecayed", "head", "head_undecayed"}
    assert [groups[name]["weight_decay"] for name in sorted(groups)] == [0.3, 0.0, 0.3, 0.0]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed = {names[id(p)] for part in ("backbone", "head") for p in groups[part]["params"]}
    spared = {names[id(p)] for part in ("backbone", "head") for p in groups[f"{part}_undecayed"]["params"]}
    products = (nn.Conv2d, nn.Linear)
    weights = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, products)}
    assert decayed == weights
    assert {name for name in spared if name.endswith("frequencies")}
    assert decayed | spared == set(names.values())
    assert not decayed & spared


def test_decay_is_on_everything_as_published():
    groups = parameter_groups(Tiny(), lr=0.1, weight_decay=0.3)
    assert [(group["name"], group["weight_decay"]) for group in groups] == [("backbone", 0.3), ("head", 0.3)]


def test_undecayed_parameters_stay_without_a_gradient():
    """The same step with and without: only what is spared differs."""
    moved = {}
    for decay_norms in (False, True):
        torch.manual_seed(0)
        model = Tiny()
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        recipe = TrainingRecipe(lr=0.1, weight_decay=0.5, decay_norms=decay_norms)
        optimizer, _ = build_optimizer(model, recipe)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        moved[decay_norms] = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved[False] == {"backbone.weight", "head.0.weight"}
    assert moved[True] - moved[False] == {"backbone.bias", "head.0.bias", "head.1.weight"}


@pytest.mark.parametrize(
    ("name", "align", "predicting"),
    [
        ("semantic_fpn", "fapn", ".align.deform.predict."),
        ("semantic_fpn", "alignfa", "_offset."),
        ("sfnet", "sfnet", ".predict."),
    ],
)
def test_offsets_learn_at_a_rate_of_their_own(name, align, predicting):
    model = create_model(name, align=align, backbone="resnet10t", width=32, classes=3)
    groups = by_name(parameter_groups(model, lr=0.1, head_lr_multiplier=10, offset_lr_multiplier=0.2))
    assert {name: group["lr"] for name, group in groups.items()} == pytest.approx(
        {"backbone": 0.1, "head": 1.0, "offsets": 0.2}
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    offsets = {names[id(p)] for p in groups["offsets"]["params"]}
    assert offsets and all(predicting in name for name in offsets)
    held = [names[id(p)] for group in groups.values() for p in group["params"]]
    assert sorted(held) == sorted(names.values())


def test_biases_of_offset_predictors_need_not_decay():
    model = create_model("semantic_fpn", align="fapn", backbone="resnet10t", width=32, classes=3)
    groups = by_name(parameter_groups(model, lr=0.1, offset_lr_multiplier=0.5, weight_decay=0.3, decay_norms=False))
    assert [groups[name]["weight_decay"] for name in ("offsets", "offsets_undecayed")] == [0.3, 0.0]
    assert all(parameter.ndim == 1 for parameter in groups["offsets_undecayed"]["params"])


def test_rate_of_offsets_without_offsets_is_an_error():
    model = create_model("fpn", backbone="resnet10t", width=16, classes=3)
    with pytest.raises(ConfigError, match=r"no layer .* predicts offsets; leave .*offset_lr_multiplier at 1"):
        build_optimizer(model, TrainingRecipe(offset_lr_multiplier=0.1))


def test_kinds_of_optimizers():
    sgd, _ = build_optimizer(Tiny(), TrainingRecipe(momentum=0.8))
    adamw, _ = build_optimizer(Tiny(), TrainingRecipe(optimizer="adamw", lr=1e-3, weight_decay=0.05))
    assert isinstance(sgd, SGD) and sgd.param_groups[0]["momentum"] == 0.8
    assert isinstance(adamw, AdamW)
    assert [(g["lr"], g["weight_decay"]) for g in adamw.param_groups] == [(1e-3, 0.05)] * 2
