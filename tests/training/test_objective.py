from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from featalign.models import Segmentor, create_model
from featalign.training.objective import Objective, asks_at_points, jittered_points, labels_at, objective
from featalign.training.recipe import LossRecipe

PLAIN = LossRecipe(ohem=False)


class Oracle(torch.nn.Module):
    """Answers with given logits, sure of the label field ``id = (3 * row + column) % 7`` of the pixel under a point."""

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

    def query(self, features: Tensor, points: Tensor) -> Tensor:
        x, y = points.unbind(-1)
        rows, columns = (y * self.size[0]).floor(), (x * self.size[1]).floor()
        ids = ((3 * rows + columns) % 7).long()
        return self.doubt + self.sureness * F.one_hot(ids, 7).movedim(-1, 1)

    def auxiliary_logits(self, features: Tensor) -> None:
        return None


def small_model(classes: int = 3) -> Segmentor:
    torch.manual_seed(0)
    return create_model("fpn", backbone="resnet10t", width=16, classes=classes).train()


def loss_of(model: Segmentor, masks: Tensor, *, at_points: bool = False, loss: LossRecipe = PLAIN) -> Objective:
    torch.manual_seed(1)
    images = torch.randn(masks.shape[0], 3, *masks.shape[1:])
    return objective(model, images, masks, at_points=at_points, loss=loss, ignore_index=255)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (33, 50), (3, 1)])
def test_one_point_in_each_cell(height: int, width: int) -> None:
    torch.manual_seed(0)
    points = jittered_points(2, height, width)
    rows, columns = -(-height // 4), -(-width // 4)
    assert points.shape == (2, rows, columns, 2)
    cells = (points * torch.tensor([columns, rows])).floor()
    assert torch.equal(cells[..., 0], torch.arange(columns).expand(2, rows, columns).float())
    assert torch.equal(cells[..., 1], torch.arange(rows)[:, None].expand(2, rows, columns).float())


def test_points_spread_over_their_cells() -> None:
    torch.manual_seed(0)
    inside = (jittered_points(4, 128, 128) * 32) % 1
    assert inside.mean((0, 1, 2)).tolist() == pytest.approx([0.5, 0.5], abs=0.02)
    assert inside.std((0, 1, 2)).tolist() == pytest.approx([12**-0.5, 12**-0.5], abs=0.02)


def test_labels_under_points_against_a_loop() -> None:
    torch.manual_seed(0)
    masks = torch.randint(0, 9, (2, 5, 7))
    points = torch.cat([torch.rand(2, 6, 3, 2), torch.ones(2, 6, 1, 2), torch.zeros(2, 6, 1, 2)], dim=2)
    labels = labels_at(masks, points)
    assert labels.shape == (2, 6, 5)
    for b in range(2):
        for i in range(6):
            for j in range(5):
                x, y = points[b, i, j].tolist()
                assert labels[b, i, j] == masks[b, min(int(y * 5), 4), min(int(x * 7), 6)]


def test_points_and_labels_agree_on_where_they_are() -> None:
    """A model that knows the field exactly has no loss, on an image whose sides differ."""
    oracle = Oracle(20, 36)
    found = loss_of(oracle, oracle.masks(2), at_points=True, loss=LossRecipe())
    assert found.total.item() < 1e-6
    wrong = loss_of(oracle, oracle.masks(2).flip(2), at_points=True, loss=LossRecipe())
    assert wrong.total.item() > 1


def test_grid_loss_is_main_plus_weighted_auxiliary() -> None:
    model, masks = small_model(), torch.randint(0, 3, (2, 64, 48))
    masks[:, :9] = 255
    found = loss_of(model, masks, loss=LossRecipe(ohem=False, auxiliary_weight=0.3))
    torch.manual_seed(1)  # dropout of the auxiliary head
    features = model.encode(torch.randn(2, 3, 64, 48))
    coarse = F.interpolate(model.auxiliary(features.deep), size=(64, 48), mode="bilinear")
    main = F.cross_entropy(model.decode(features, mode="resized"), masks, ignore_index=255)
    auxiliary = F.cross_entropy(coarse, masks, ignore_index=255)
    torch.testing.assert_close(found.total, main + 0.3 * auxiliary)
    torch.testing.assert_close((found.main, found.auxiliary), (main.detach(), auxiliary.detach()))


def test_auxiliary_head_can_be_off() -> None:
    model, masks = small_model(), torch.randint(0, 3, (2, 64, 64))
    found = loss_of(model, masks, loss=LossRecipe(auxiliary_weight=0))
    assert found.auxiliary is None
    assert found.total.item() == found.main.item()


@pytest.mark.parametrize(("keep", "kept"), [(0.1, 4), (0.0, 1), (1.0, 45)])
def test_kept_share_of_easy_points(keep: float, kept: int) -> None:
    """5 x 9 points, all easier than the threshold: only the kept share has a gradient."""
    torch.manual_seed(0)
    logits = torch.rand(1, 7, 5, 9, requires_grad=True)
    oracle = Oracle(20, 36, sureness=4.0, doubt=logits)
    loss = LossRecipe(threshold=0.7, keep=keep)
    loss_of(oracle, oracle.masks(1), at_points=True, loss=loss).total.backward()
    assert (logits.grad.abs().sum(1) > 0).sum() == kept


@pytest.mark.parametrize("at_points", [False, True])
@pytest.mark.parametrize("ohem", [False, True])
def test_nothing_but_void_is_an_attached_zero(at_points: bool, ohem: bool) -> None:
    model = small_model()
    found = loss_of(model, torch.full((2, 64, 64), 255), at_points=at_points, loss=LossRecipe(ohem=ohem))
    assert found.total.item() == 0
    found.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert any(p.grad is not None for p in model.parameters())


def test_points_train_what_the_grid_leaves_alone() -> None:
    """The finest level's position code has offset 0 on its own grid, so only points can teach it."""
    masks = torch.randint(0, 3, (2, 64, 64))
    moved = {}
    for at_points in (False, True):
        model = small_model()
        loss_of(model, masks, at_points=at_points).total.backward()
        gradients = [p.grad for n, p in model.named_parameters() if "frequencies" in n and p.grad is not None]
        assert gradients
        moved[at_points] = gradients[0].abs().max().item()
    assert moved[False] < 1e-9 < moved[True]


def test_when_points_are_asked() -> None:
    steps = range(6)
    assert [asks_at_points("mixed", step) for step in steps] == [False, True] * 3
    assert not any(asks_at_points("grid", step) for step in steps)
    assert all(asks_at_points("points", step) for step in steps)
