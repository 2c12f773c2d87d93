"""PointRend in Mask R-CNN: where it reads, what it learns from, what it draws."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from featalign.models import Detector, create_detector, load_detector, save_detector
from featalign.models.point_masks import PointMasks, mask_values
from featalign.models.subdivision import cell_centres


def small(**options) -> Detector:
    torch.manual_seed(0)
    chosen = {"backbone": "resnet10t", "width": 32, "min_size": None, "detections": 3, "classes": ["cat", "car"]}
    return create_detector("mask_rcnn", point_head=True, anchors=(8, 16, 32, 64, 128), **chosen | options)


def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in ((64, 50), (40, 72))]
    masks = torch.zeros(1, 64, 50, dtype=torch.uint8)
    masks[:, 12:44, 10:40] = 1
    target = {"boxes": torch.tensor([[10.0, 12.0, 40.0, 44.0]]), "labels": torch.tensor([2]), "masks": masks}
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": masks[:0, :40]}
    return images, [target, empty]


@pytest.mark.parametrize("fuse", ["add", "fapn"])
def test_training_and_storage(fuse: str, tmp_path):
    model = small(fuse=fuse)
    images, targets = batch()
    losses = model(images, targets)
    assert {"loss_mask", "loss_mask_points"} <= losses.keys()
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    save_detector(model, tmp_path)
    loaded = load_detector(tmp_path)
    assert loaded.config["point_head"] is True
    with torch.no_grad():
        for ours, theirs, image in zip(model.eval()(images), loaded(images), images, strict=True):
            assert ours["masks"].shape == (len(ours["boxes"]), 1, *image.shape[1:])
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_an_image_without_objects_trains_and_one_without_detections_is_answered():
    model = small()
    images, targets = batch()
    losses = model(images[1:], targets[1:])
    sum(losses.values()).backward()
    assert losses["loss_mask"] == 0 and losses["loss_mask_points"] == 0
    assert all(parameter.grad is not None for parameter in model.network.roi_heads.masks.parameters())
    model.network.roi_heads.boxes.score_thresh = 2.0
    (answer,) = model.eval()(images[:1])
    assert answer["masks"].shape == (0, 1, 64, 50)


def test_the_losses_are_those_of_the_objects_own_class():
    torch.manual_seed(0)
    head = PointMasks(4, 3, stride=4)
    finest, box = torch.randn(1, 4, 8, 8), torch.tensor([[4.0, 6.0, 20.0, 28.0]])
    target = {"labels": torch.tensor([3, 2]), "masks": torch.ones(2, 32, 32, dtype=torch.uint8)}
    losses = head.losses(finest, [box], [torch.tensor([1])], [target])
    losses["loss_mask"].backward(retain_graph=True)
    bias = head.coarse.get_submodule("7").bias.grad.view(3, -1)
    assert (bias[1] < 0).all() and (bias[[0, 2]] == 0).all()
    losses["loss_mask_points"].backward()
    assert (head.point_head.classify.bias.grad != 0).tolist() == [False, True, False]


def test_boxes_are_read_where_they_lie_in_their_own_image():
    """Maps that hold the coordinates of their cells, in pixels: what is read is where it was read."""
    head = PointMasks(2, 1, stride=4)
    centres = 32 * cell_centres(torch.arange(64), 8, 8).T.reshape(2, 8, 8)
    finest = torch.stack((centres, centres + 1000))
    boxes = [torch.tensor([[4.0, 8.0, 20.0, 12.0]]), torch.tensor([[2.0, 2.0, 6.0, 10.0], [8.0, 8.0, 24.0, 24.0]])]
    points = torch.tensor([[[0.0, 0.0], [0.5, 1.0]]]).expand(3, -1, -1)
    read = head._read(finest, boxes, points)
    expected = [[[4, 12], [8, 12]], [[1002, 1004], [1002, 1010]], [[1008, 1016], [1008, 1024]]]
    torch.testing.assert_close(read, torch.tensor(expected, dtype=torch.float32))


def test_a_mask_is_read_at_the_pixel_that_a_point_lies_in():
    masks = torch.zeros(2, 3, 4, dtype=torch.uint8)
    masks[1, 2, 3] = 1
    points = torch.tensor([[[3.0, 2.0], [3.9, 2.9], [2.9, 2.0], [9.0, 9.0], [-1.0, 0.0]]])
    assert mask_values(masks, torch.tensor([1]), points).tolist() == [[1, 1, 0, 1, 0]]
    assert mask_values(masks, torch.tensor([0]), points).sum() == 0


def test_it_learns_a_disc_finer_than_its_coarse_mask():
    """The map shows the disc at its pitch; a mask of 7 x 7 cannot draw it."""
    torch.manual_seed(0)
    head = PointMasks(8, 1, stride=1)
    at = cell_centres(torch.arange(64 * 64), 64, 64)
    disc = ((at - 0.5).norm(dim=-1) < 0.3).view(1, 64, 64)
    finest = torch.cat((disc.float(), torch.zeros(7, 64, 64)))[None]
    box = [torch.tensor([[8.0, 8.0, 56.0, 56.0]])]
    target = {"labels": torch.tensor([1]), "masks": disc.to(torch.uint8)}
    optimizer = torch.optim.Adam(head.parameters(), 1e-3)
    for _ in range(30):
        optimizer.zero_grad()
        sum(head.losses(finest, box, [torch.tensor([0])], [target]).values()).backward()
        optimizer.step()
    with torch.no_grad():
        (drawn,) = head.draw(finest, box, [torch.tensor([1])])
    inside = ((8 + 48 * cell_centres(torch.arange(224**2), 224, 224)) / 64 - 0.5).norm(dim=-1).view(224, 224) < 0.3
    assert ((drawn[0, 0] > 0.5) == inside).float().mean() > 0.99
