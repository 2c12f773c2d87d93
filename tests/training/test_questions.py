from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from featalign.metrics import boundary_band
from featalign.models import Segmentor, create_model
from featalign.training.questions import (
    answers_on_grid,
    ask,
    asks_at_points,
    jittered_points,
    labels_at,
    moved_into,
    shown,
)
from featalign.training.recipe import TrainingRecipe


@pytest.fixture(scope="module")
def model() -> Segmentor:
    torch.manual_seed(0)
    return create_model("fpn", backbone="resnet10t", width=16, classes=3).eval()


def two_halves(batch: int = 2, height: int = 40, width: int = 56) -> torch.Tensor:
    """Class 0 left, class 1 right of the middle column."""
    return (torch.arange(width) >= width // 2).long().expand(batch, height, -1).clone()


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize(("height", "width"), [(32, 48), (33, 50), (3, 1)])
def test_one_point_in_each_cell(height, width, stride):
    torch.manual_seed(0)
    points = jittered_points(2, height, width, stride=stride)
    rows, columns = -(-height // stride), -(-width // stride)
    assert points.shape == (2, rows, columns, 2)
    cells = (points.double() * torch.tensor([columns, rows])).floor()
    assert torch.equal(cells[..., 0], torch.arange(columns).expand(2, rows, columns).double())
    assert torch.equal(cells[..., 1], torch.arange(rows)[:, None].expand(2, rows, columns).double())


def test_points_spread_over_their_cells():
    torch.manual_seed(0)
    inside = (jittered_points(4, 128, 128) * 32) % 1
    assert inside.mean((0, 1, 2)).tolist() == pytest.approx([0.5, 0.5], abs=0.02)
    assert inside.std((0, 1, 2)).tolist() == pytest.approx([12**-0.5, 12**-0.5], abs=0.02)


def test_labels_under_points_against_a_loop():
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


@pytest.mark.parametrize("share", [0.25, 0.75, 1.0])
def test_share_of_points_near_boundaries(share):
    torch.manual_seed(0)
    masks = two_halves()
    band = boundary_band(masks, 4)
    points = jittered_points(2, 40, 56)
    moved = moved_into(band, points, share=share)
    changed = (moved != points).any(-1)
    assert changed.float().mean().item() == pytest.approx(share, abs=0.01)
    assert labels_at(band.long(), moved)[changed].all(), "what was moved lies in the band"
    pixels = (moved[changed] * torch.tensor([56, 40])).floor()
    assert len(pixels[: len(pixels) // 2].unique(dim=0)) == len(pixels) // 2, "no pixel twice in an image"


def test_image_without_boundary_keeps_its_points():
    torch.manual_seed(0)
    masks = two_halves()
    masks[1] = 1
    points = jittered_points(2, 40, 56)
    moved = moved_into(boundary_band(masks, 3), points, share=0.5)
    assert not torch.equal(moved[0], points[0])
    assert torch.equal(moved[1], points[1])


def test_narrow_region_takes_as_many_points_as_it_has_pixels():
    torch.manual_seed(0)
    region = torch.zeros(1, 40, 56, dtype=torch.bool)
    region[0, 5, 5:8] = True
    points = jittered_points(1, 40, 56)
    assert (moved_into(region, points, share=1.0) != points).any(-1).sum() == 3


def test_labels_at_boundary_points_are_those_of_both_sides(model):
    """What the recipe asks for reaches the question: with every point moved, both labels of the edge are met evenly."""
    torch.manual_seed(0)
    masks = two_halves(4)
    masks[:, :, :4] = 255
    features = model.encode(torch.randn(4, 3, 40, 56))
    recipe = TrainingRecipe(query="points", boundary_share=1.0, boundary_radius=2)
    logits, labels = ask(model, features, masks, recipe=recipe, step=0)
    assert logits.shape == (4, 3, 10, 14) and labels.shape == (4, 10, 14)
    assert labels.unique().tolist() == [0, 1]
    assert labels.float().mean().item() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("stride", "size", "grid"), [(1, (41, 55), (41, 55)), (2, (41, 55), (21, 28)), (4, (64, 96), (16, 24))]
)
def test_grid_of_every_stride_answers_every_label(model, stride, size, grid):
    masks = two_halves(1, *size)
    features = model.encode(torch.randn(1, 3, *size))
    logits = answers_on_grid(model, features, masks, stride=stride)
    asked = model.answer_grid(features, grid)
    torch.testing.assert_close(logits, F.interpolate(asked, size=size, mode="bilinear"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_points_of_every_stride(model, stride):
    features = model.encode(torch.randn(1, 3, 40, 56))
    recipe = TrainingRecipe(query="points", query_stride=stride)
    logits, labels = ask(model, features, two_halves(1), recipe=recipe, step=0)
    assert logits.shape == (1, 3, 40 // stride, 56 // stride)
    assert labels.shape == logits.shape[:1] + logits.shape[2:]


def test_when_points_are_asked():
    steps = range(6)
    assert [asks_at_points("mixed", step) for step in steps] == [False, True] * 3
    assert not any(asks_at_points("grid", step) for step in steps)
    assert all(asks_at_points("points", step) for step in steps)


def test_images_are_shown_smaller_and_labels_are_not(model):
    """Questions and labels stay those of the full size: the answer is asked between the cells of a coarser grid."""
    torch.manual_seed(0)
    images, masks = torch.randn(2, 3, 40, 56), two_halves()
    assert shown(images, 1.0) is images
    small = shown(images, 0.5)
    torch.testing.assert_close(small, F.interpolate(images, (20, 28), mode="bilinear", antialias=True))
    recipe = TrainingRecipe(query="points", input_scale=0.5)
    logits, labels = ask(model, model.encode(small), masks, recipe=recipe, step=0)
    assert logits.shape == (2, 3, 10, 14) and labels.shape == (2, 10, 14)
    assert shown(images[:, :, :1, :1], 0.3).shape == (2, 3, 1, 1)
