"""Masks where they belong: from true masks to those of boxes and back, and through a change of size."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection.roi_heads import project_masks_on_boxes
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from featalign.models import create_detector
from featalign.models.point_masks import mask_shares
from featalign.models.resizing import ROI_SHIFT, Resizing, paste_masks

STATISTICS = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
BOXES = torch.tensor([[10.0, 12.0, 34.0, 31.0], [3.4, 20.7, 19.1, 28.2], [-2.0, 30.0, 9.0, 45.0]])


def disks(size: tuple[int, int] = (40, 48)) -> torch.Tensor:
    """An ellipse in each box."""
    rows, columns = (torch.arange(side) + 0.5 for side in size)
    left, top, right, bottom = BOXES.T[..., None, None]
    away = [(2 * columns - left - right) / (right - left), (2 * rows[:, None] - top - bottom) / (bottom - top)]
    return (away[0] ** 2 + away[1] ** 2 <= 1).to(torch.uint8)


def middle(mask: torch.Tensor) -> torch.Tensor:
    """Row and column of the centre of mass, from the edge of the image."""
    return mask.nonzero().float().mean(0) + 0.5


def overlap(found: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    return (found & true).flatten(1).sum(1) / (found | true).flatten(1).sum(1)


def test_a_mask_is_pasted_where_its_box_lies():
    """A box that covers pixels by halves, and masks that say where they are read."""
    across = (torch.arange(4) + 0.5).expand(1, 1, 4, 4)  # of 4 cells over 8 pixels
    pasted = paste_masks(across, torch.tensor([[2.5, 2.0, 10.5, 10.0]]), (12, 14))[0, 0]
    assert pasted.shape == (12, 14) and pasted[:1].sum() == 0 and pasted[:, :2].sum() == 0
    torch.testing.assert_close(pasted[5, 4:9], torch.arange(4, 9) / 2 - 1.0)
    down = paste_masks(across.mT, torch.tensor([[2.5, 2.0, 10.5, 10.0]]), (12, 14))[0, 0]
    torch.testing.assert_close(down[4:9, 5], torch.arange(4, 9) / 2 - 0.75)
    assert paste_masks(across, torch.tensor([[50.0, 2.0, 60.0, 10.0]]), (12, 14)).sum() == 0
    assert paste_masks(across[:0], BOXES[:0], (12, 14)).shape == (0, 1, 12, 14)


def test_a_mask_that_was_learnt_comes_back_in_its_place():
    masks, which = disks(), torch.arange(3)
    for learnt, shift in (
        (project_masks_on_boxes(masks, BOXES, which, 28), ROI_SHIFT),
        (mask_shares(masks, which, BOXES, side=28), 0.0),
    ):
        pasted = paste_masks(learnt[:, None], BOXES + shift, masks.shape[1:])[:, 0] >= 0.5
        assert (overlap(pasted, masks.bool()) > 0.93).all()


@pytest.mark.parametrize("size", [(80, 96), (20, 24), (67, 80)])
def test_masks_keep_their_place_when_images_are_resized(size):
    """Down and up, in training and in evaluation: the centre of mass stays."""
    transform = Resizing([min(size)], 1000, mask_shift=ROI_SHIFT, **STATISTICS)
    masks, target = disks(), {"boxes": BOXES[:2], "masks": disks()[:2]}
    batch, (resized,) = transform.train()([torch.rand(3, 40, 48)], [target])
    assert batch.image_sizes == [size] and target["masks"].shape == (2, 40, 48)
    scale = torch.tensor(size) / torch.tensor([40, 48])
    for mask, own in zip(resized["masks"], masks, strict=False):
        torch.testing.assert_close(middle(mask), middle(own) * scale, atol=0.26, rtol=0)
    learnt = project_masks_on_boxes(resized["masks"], resized["boxes"], torch.arange(2), 28)
    found = {"boxes": resized["boxes"], "masks": learnt[:, None]}
    (answer,) = transform.eval().postprocess([found], batch.image_sizes, [(40, 48)])
    torch.testing.assert_close(answer["boxes"], BOXES[:2])
    assert (overlap(answer["masks"][:, 0] >= 0.5, masks[:2].bool()) > (0.7 if min(size) < 40 else 0.9)).all()


@pytest.mark.parametrize("size", [(50, 80), (333, 217), (97, 1)])
def test_images_are_resized_as_by_torchvision(size):
    """Several sizes are drawn as there, too."""
    ours = Resizing([48, 61, 75], 100, **STATISTICS)
    theirs = GeneralizedRCNNTransform([48, 61, 75], 100, *STATISTICS.values())
    image, boxes = torch.rand(3, *size), torch.tensor([[0.0, 0.0, size[1], size[0] / 3]])
    for train in (True, True, True, False):
        results = []
        for transform in (ours, theirs):
            torch.manual_seed(0)
            results.append(transform.train(train)([image], [{"boxes": boxes}]))
        (batch, (target,)), (reference, (expected,)) = results
        assert batch.image_sizes == reference.image_sizes
        assert torch.equal(batch.tensors, reference.tensors) and torch.equal(target["boxes"], expected["boxes"])


def test_a_strip_keeps_a_row():
    """torchvision would leave it without any: 2 rows of 700 columns at a seventh."""
    transform = Resizing([48], 100, **STATISTICS).train()
    target = {"boxes": torch.tensor([[0.0, 0.0, 350.0, 2.0]]), "masks": torch.ones(1, 2, 700, dtype=torch.uint8)}
    batch, (resized,) = transform([torch.rand(3, 2, 700)], [target])
    assert batch.image_sizes == [(1, 100)] and resized["masks"].shape == (1, 1, 100)
    torch.testing.assert_close(resized["boxes"], torch.tensor([[0.0, 0.0, 50.0, 1.0]]))


@pytest.mark.parametrize(("point_head", "shift"), [(False, ROI_SHIFT), (True, 0.0)])
def test_each_mask_head_has_its_own_shift(point_head, shift):
    model = create_detector("mask_rcnn", classes=1, backbone="resnet10t", width=32, point_head=point_head)
    assert model.network.transform.mask_shift == shift


def test_masks_are_pasted_with_gradients_too():
    """As torchvision's are, where nobody says no_grad; each mask's gradient is that of its own part of the image."""
    masks, boxes = torch.rand(3, 1, 7, 7, requires_grad=True), torch.tensor([[1.5, 2.0, 9.0, 8.0]]).repeat(3, 1)
    pasted = paste_masks(masks, boxes, (12, 16))
    with torch.no_grad():
        assert torch.equal(pasted, paste_masks(masks, boxes, (12, 16)))
    pasted[1].sum().backward()
    assert [bool(gradient.any()) for gradient in masks.grad] == [False, True, False]
