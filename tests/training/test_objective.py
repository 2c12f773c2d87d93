from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from featalign.losses import (
    class_balanced_cross_entropy,
    dice_loss,
    lovasz_softmax,
    ohem_cross_entropy,
    ohem_cross_entropy_alignseg,
)
from featalign.models import Segmentor, create_model
from featalign.training.objective import Costs, Objective, objective
from featalign.training.recipe import LossRecipe, TrainingRecipe

PLAIN = LossRecipe(main="cross_entropy")


class Oracle(torch.nn.Module):
    """Answers with given logits, sure of the label field ``id = (3 * row + column) % 7`` of the pixel under a point."""

    classes = SimpleNamespace(ignore_index=255)

    def __init__(self, height: int, width: int, *, sureness: float = 50.0, doubt: Tensor | float = 0.0) -> None:
        super().__init__()
        self.size = (height, width)
        self.sureness = torch.nn.Parameter(torch.tensor(sureness))
        self.doubt = doubt

    def masks(self, batch: int) -> Tensor:
        rows, columns = (torch.arange(side) for side in self.size)
        return ((3 * rows[:, None] + columns) % 7).expand(batch, -1, -1)

    def encode(self, images: Tensor) -> Tensor:
        return images

    def query(self, features: Tensor, points: Tensor, mode: str) -> Tensor:
        assert mode == "dense"  # what is to be learnt is the network's own answer
        x, y = points.unbind(-1)
        rows, columns = (y * self.size[0]).floor(), (x * self.size[1]).floor()
        ids = ((3 * rows + columns) % 7).long()
        return self.doubt + self.sureness * F.one_hot(ids, 7).movedim(-1, 1)

    def auxiliary_logits(self, features: Tensor, size: tuple[int, int]) -> None:
        return None


def small_model(classes: int = 3) -> Segmentor:
    torch.manual_seed(0)
    return create_model("fpn", backbone="resnet10t", width=16, classes=classes).train()


def loss_of(
    model: Segmentor, masks: Tensor, *, query: str = "grid", loss: LossRecipe = PLAIN, weights: Tensor | None = None
) -> Objective:
    torch.manual_seed(1)
    images = torch.randn(masks.shape[0], 3, *masks.shape[1:])
    training = TrainingRecipe(query=query)
    return objective(model, images, masks, step=0, training=training, loss=loss, class_weights=weights)


def test_points_and_labels_agree_on_where_they_are() -> None:
    """A model that knows the field exactly has no loss, on an image whose sides differ."""
    oracle = Oracle(20, 36)
    found = loss_of(oracle, oracle.masks(2), query="points", loss=LossRecipe())
    assert found.total.item() < 1e-6
    wrong = loss_of(oracle, oracle.masks(2).flip(2), query="points", loss=LossRecipe())
    assert wrong.total.item() > 1


def test_grid_loss_is_main_plus_weighted_auxiliary() -> None:
    model, masks = small_model(), torch.randint(0, 3, (2, 64, 48))
    masks[:, :9] = 255
    found = loss_of(model, masks, loss=LossRecipe(main="cross_entropy", auxiliary_weight=0.3))
    torch.manual_seed(1)  # dropout of the auxiliary head
    features = model.encode(torch.randn(2, 3, 64, 48))
    coarse = F.interpolate(model.auxiliary(features.deep), size=(64, 64), mode="bilinear")[..., :48]  # filled up
    main = F.cross_entropy(model.decode(features, mode="resized"), masks, ignore_index=255)
    auxiliary = F.cross_entropy(coarse, masks, ignore_index=255)
    torch.testing.assert_close(found.total, main + 0.3 * auxiliary)
    torch.testing.assert_close((found.main, found.auxiliary), (main.detach(), auxiliary.detach()))


def test_auxiliary_head_can_be_off() -> None:
    model, masks = small_model(), torch.randint(0, 3, (2, 64, 64))
    found = loss_of(model, masks, loss=LossRecipe(auxiliary_weight=0))
    assert found.auxiliary is None
    assert found.total.item() == found.main.item()


def test_alignseg_supervises_its_third_map() -> None:
    torch.manual_seed(0)
    model = create_model("alignseg", backbone="resnet10t", width=16, classes=3).train()
    found = loss_of(model, torch.randint(0, 3, (2, 64, 64)), loss=LossRecipe(auxiliary_weight=0.1))
    assert found.auxiliary is not None
    found.total.backward()
    assert model.auxiliary[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("keep", "kept"), [(0.1, 4), (0.0, 1), (1.0, 45)])
def test_kept_share_of_easy_points(keep: float, kept: int) -> None:
    """5 x 9 points, all easier than the threshold: only the kept share has a gradient."""
    torch.manual_seed(0)
    logits = torch.rand(1, 7, 5, 9, requires_grad=True)
    oracle = Oracle(20, 36, sureness=4.0, doubt=logits)
    loss = LossRecipe(threshold=0.7, keep=keep)
    loss_of(oracle, oracle.masks(1), query="points", loss=loss).total.backward()
    assert (logits.grad.abs().sum(1) > 0).sum() == kept


@pytest.mark.parametrize("query", ["grid", "points"])
@pytest.mark.parametrize("main", ["ohem", "ohem_alignseg", "cross_entropy", "balanced"])
def test_nothing_but_void_is_an_attached_zero(query: str, main: str) -> None:
    model = small_model()
    loss = LossRecipe(main=main, auxiliary="balanced", lovasz=1.0, dice=1.0)
    found = loss_of(model, torch.full((2, 64, 64), 255), query=query, loss=loss)
    assert found.total.item() == 0
    found.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert any(p.grad is not None for p in model.parameters())


def test_points_train_what_the_grid_leaves_alone() -> None:
    """The finest level's position code has offset 0 on its own grid, so only points can teach it."""
    masks = torch.randint(0, 3, (2, 64, 64))
    moved = {}
    for query in ("grid", "points"):
        model = small_model()
        loss_of(model, masks, query=query).total.backward()
        gradients = [p.grad for n, p in model.named_parameters() if "frequencies" in n and p.grad is not None]
        assert gradients
        moved[query] = gradients[0].abs().max().item()
    assert moved["grid"] < 1e-9 < moved["points"]


@pytest.fixture
def answers() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    labels = torch.randint(0, 4, (2, 12, 16))
    labels[0, :3] = 255
    return torch.randn(2, 4, 12, 16), labels


def test_every_main_loss_is_the_one_it_names(answers: tuple[Tensor, Tensor]) -> None:
    logits, labels = answers
    mined = {"threshold": 0.01, "min_kept": round(0.5 * labels.numel())}
    expected = {
        "cross_entropy": F.cross_entropy(logits, labels, ignore_index=255),
        "ohem": ohem_cross_entropy(logits, labels, **mined),
        "ohem_alignseg": ohem_cross_entropy_alignseg(logits, labels, **mined),
        "balanced": class_balanced_cross_entropy(logits, labels),
    }
    for name, value in expected.items():
        costs = Costs(LossRecipe(main=name, keep=0.5, threshold=0.01), 255)
        torch.testing.assert_close(costs.main(logits, labels), value)
    for name in ("cross_entropy", "ohem", "balanced"):
        costs = Costs(LossRecipe(auxiliary=name, keep=0.5, threshold=0.01), 255)
        torch.testing.assert_close(costs.auxiliary(logits, labels), expected[name])
    assert len({round(value.item(), 5) for value in expected.values()}) == 4


def test_regional_losses_are_added_to_the_main_one(answers: tuple[Tensor, Tensor]) -> None:
    logits, labels = answers
    costs = Costs(LossRecipe(main="cross_entropy", lovasz=0.8, dice=0.5), 255)
    expected = F.cross_entropy(logits, labels, ignore_index=255)
    expected = expected + 0.8 * lovasz_softmax(logits, labels) + 0.5 * dice_loss(logits, labels)
    torch.testing.assert_close(costs.main(logits, labels), expected)
    torch.testing.assert_close(costs.auxiliary(logits, labels), F.cross_entropy(logits, labels, ignore_index=255))


@pytest.mark.parametrize("main", ["cross_entropy", "ohem", "ohem_alignseg"])
def test_class_weights_weigh(answers: tuple[Tensor, Tensor], main: str) -> None:
    """A class of weight 0 has no gradient; the weights of the others are those of torch's own loss."""
    logits, labels = answers
    logits.requires_grad_()
    weights = torch.tensor([1.0, 2.0, 0.0, 4.0])
    total = Costs(LossRecipe(main=main, keep=1.0), 255, weights).main(logits, labels)
    torch.testing.assert_close(total, F.cross_entropy(logits, labels, weights, ignore_index=255))
    total.backward()
    assert logits.grad.movedim(1, -1)[labels == 2].abs().max() == 0


def test_class_weights_reach_main_and_auxiliary() -> None:
    masks = torch.randint(0, 3, (2, 64, 64))
    plain = loss_of(small_model(), masks)
    weighted = loss_of(small_model(), masks, weights=torch.tensor([1.0, 0.0, 0.0]))
    assert weighted.main != plain.main
    assert weighted.auxiliary != plain.auxiliary
