from __future__ import annotations

import copy

import pytest
import torch

from featalign.errors import ConfigError
from featalign.models import Segmentor, create_model
from featalign.training.freezing import freeze
from featalign.training.objective import objective
from featalign.training.optimization import build_optimizer
from featalign.training.recipe import LossRecipe, TrainingRecipe


def network(backbone: str = "resnet10t") -> Segmentor:
    torch.manual_seed(0)
    return create_model("fpn", backbone=backbone, width=16, classes=3)


def trained(recipe: TrainingRecipe) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """All values before and after two steps."""
    model = network()
    freeze(model, recipe)
    before = copy.deepcopy(model.state_dict())
    optimizer, _ = build_optimizer(model, recipe)
    for step in range(2):
        model.train()
        images, masks = torch.randn(2, 3, 64, 64), torch.randint(0, 3, (2, 64, 64))
        loss = objective(model, images, masks, step=step, training=recipe, loss=LossRecipe()).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return before, model.state_dict()


def changed(recipe: TrainingRecipe) -> set[str]:
    before, after = trained(recipe)
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def test_frozen_backbone_keeps_weights_and_statistics():
    moved = changed(TrainingRecipe(freeze="backbone", lr=0.1))
    assert moved and not {name for name in moved if name.startswith("backbone.")}


def test_frozen_norms_keep_theirs_and_the_rest_learns():
    norms = {name for name, module in network().backbone.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    moved = changed(TrainingRecipe(freeze="backbone_norms", lr=0.1))
    in_backbone = {name.removeprefix("backbone.").rpartition(".")[0] for name in moved if name.startswith("backbone.")}
    assert in_backbone and norms and not in_backbone & norms
    assert any(name.endswith("running_mean") for name in moved), "those of the decoder go on"


def test_nothing_frozen_changes_everything():
    model = network()
    assert freeze(model, TrainingRecipe()) == 0
    assert {name.partition(".")[0] for name in changed(TrainingRecipe(lr=0.1))} == {"backbone", "decoder", "auxiliary"}


def test_number_of_frozen_parameters():
    model = network()
    assert freeze(model, TrainingRecipe(freeze="backbone")) == sum(p.numel() for p in model.backbone.parameters())


def test_backbone_without_batch_norm_says_so():
    with pytest.raises(ConfigError, match=r"no batch normalization to freeze.*LayerNorm"):
        freeze(network("convnext_atto"), TrainingRecipe(freeze="backbone_norms"))
