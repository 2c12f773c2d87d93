from __future__ import annotations

import pytest
import torch

from featalign.align import PositionEncoding
from featalign.errors import ConfigError
from featalign.losses import ohem_cross_entropy_alignseg
from featalign.models import create_model
from featalign.training.objective import objective
from featalign.training.recipe import Recipe
from featalign.training.uncertain import uncertain_points


def test_three_quarters_lie_where_the_margin_is_small():
    """Left half certain, right half undecided: random points would be half and half."""
    torch.manual_seed(0)
    logits = torch.zeros(2, 3, 64, 128)
    logits[:, 0, :, :64] = 9.0
    points = uncertain_points(logits)
    assert points.shape == (2, 32, 2)
    assert points.min() >= 0 and points.max() < 1
    right = (points[..., 0] > 0.5).float().mean(dim=1)
    assert (right >= 0.75).all() and (right < 1).all()


def test_one_class_and_tiny_crops_have_points():
    assert uncertain_points(torch.zeros(1, 1, 3, 4)).shape == (1, 1, 2)


def test_the_point_head_learns_besides_the_coarse_answer():
    torch.manual_seed(0)
    model = create_model("fapn", classes=3, backbone="resnet10t", width=32, head_width=32, norm="BN", point_head=True)
    recipe = Recipe().with_overrides(["training.query=uncertain", "loss.main=cross_entropy", "data.crop=64"])
    masks = torch.randint(0, 3, (2, 64, 64))
    losses = {}
    for query in ("grid", "uncertain"):
        torch.manual_seed(1)
        model.zero_grad()
        training = recipe.with_overrides([f"training.query={query}"]).training
        found = objective(model, torch.randn(2, 3, 64, 64), masks, step=0, training=training, loss=recipe.loss)
        found.total.backward()
        losses[query] = found.main.item(), model.point_head.classify.weight.grad
    assert losses["grid"][1] is None and losses["uncertain"][1].abs().sum() > 0
    assert losses["uncertain"][0] > losses["grid"][0]


def test_what_is_asked_at_uncertain_points_is_annealed_too(monkeypatch):
    model = create_model("fpn", classes=3, backbone="resnet10t", width=16)
    code = next(module for module in model.modules() if isinstance(module, PositionEncoding))
    seen = []
    query = model.query
    monkeypatch.setattr(model, "query", lambda *asked: seen.append(code.revealed) or query(*asked))
    recipe = Recipe().with_overrides(["training.query=uncertain", "training.anneal_position=0.5"])
    masks = torch.randint(0, 3, (2, 64, 64))
    objective(model, torch.randn(2, 3, 64, 64), masks, step=90, training=recipe.training, loss=recipe.loss)
    assert seen == [90 / (0.5 * recipe.training.iterations)]


@pytest.mark.parametrize("query", ["uncertain", "points"])
def test_points_have_no_grid_to_mine_on(monkeypatch, query):
    """The losses get (B, K, N): of a map they would blend neighbours, which points in a list are not."""
    shapes = []

    def spy(logits, target, **options):
        shapes.append((logits.ndim, target.ndim))
        return ohem_cross_entropy_alignseg(logits, target, **options)

    monkeypatch.setattr("featalign.training.objective.ohem_cross_entropy_alignseg", spy)
    model = create_model("fpn", classes=3, backbone="resnet10t", width=16)
    recipe = Recipe().with_overrides(["loss.main=ohem_alignseg", f"training.query={query}"])
    masks = torch.randint(0, 3, (2, 64, 64))
    objective(model, torch.randn(2, 3, 64, 64), masks, step=0, training=recipe.training, loss=recipe.loss)
    assert shapes == ([(4, 3), (3, 2)] if query == "uncertain" else [(3, 2)])


def test_boundary_share_needs_points_that_it_can_move():
    with pytest.raises(ConfigError, match="query uncertain"):
        Recipe().with_overrides(["training.query=uncertain", "training.boundary_share=0.5"])
