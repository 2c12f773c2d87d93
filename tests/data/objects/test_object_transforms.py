"""Boxes, masks, crowds and segments go through the transforms of images as the labels of a mask do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from featalign.data import train_transform
from featalign.data.objects import object_transform, open_objects, panoptic_transform
from featalign.data.objects.sample import ObjectSample, PanopticSample, bounding_boxes

SIZE = (40, 52)
OPTIONS = [
    {"crop": 24},
    {"crop": (64, 32), "scales": (0.3, 0.9)},
    {"crop": 90, "scales": (1.0, 2.0), "flip": 1.0, "jitter": 0.5},
]


def rectangles() -> Tensor:
    """A map of numbers 1 … 9 of rectangles that do not overlap; 0 elsewhere."""
    numbers = torch.zeros(SIZE, dtype=torch.int64)
    for number in range(9):
        top, left = 13 * (number // 3) + number % 2, 17 * (number % 3) + number // 4
        numbers[top : top + 4 + number, left : left + 13 - number] = number + 1
    return numbers


def sample_of(numbers: Tensor, *, masks: bool = True) -> ObjectSample:
    found = numbers.unique()[1:]
    stack = torch.stack([numbers == number for number in found]).to(torch.uint8)
    sample: ObjectSample = {
        "image": tv_tensors.Image(torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)),
        "boxes": bounding_boxes(around(stack), SIZE),
        "labels": found * 10,
        "crowd": found % 3 == 0,
        "image_id": 5,
        "name": "made",
    }
    if masks:
        sample["masks"] = tv_tensors.Mask(stack)
    return sample


def around(masks: Tensor) -> Tensor:
    """Left, top, right, bottom of the pixels of each mask, by looking for them."""
    boxes = []
    for mask in masks:
        rows, columns = np.nonzero(mask.numpy())
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return torch.tensor(np.array(boxes), dtype=torch.float32).reshape(-1, 4)


def transformed_numbers(numbers: Tensor, image: Tensor, seed: int, **options) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    plain = {"image": tv_tensors.Image(image), "mask": tv_tensors.Mask(numbers), "name": ""}
    result = train_transform(ignore_index=0, **options)(plain)
    return result["image"], result["mask"]


@pytest.mark.parametrize("options", OPTIONS, ids=["crop", "small", "large"])
def test_objects_follow_the_labels(options):
    numbers, lost = rectangles(), 0
    sample = sample_of(numbers)
    for seed in range(20):
        image, moved = transformed_numbers(numbers, sample["image"], seed, **options)
        torch.manual_seed(seed)
        result = object_transform(**options)(sample)
        present = moved.unique()[moved.unique() > 0]
        lost += len(numbers.unique()) - 1 - len(present)
        assert torch.equal(result["image"], image)
        assert result["labels"].tolist() == (present * 10).tolist()
        assert result["crowd"].tolist() == (present % 3 == 0).tolist()
        expected = [(moved == number) for number in present]
        assert torch.equal(result["masks"].bool(), torch.stack(expected) if expected else result["masks"].bool())
        assert torch.equal(result["boxes"].as_subclass(Tensor), around(result["masks"]))
        assert result["boxes"].canvas_size == tuple(moved.shape)
        assert (result["image_id"], result["name"]) == (5, "made")
    assert lost > 0 or options["crop"] == 90


@pytest.mark.parametrize("options", OPTIONS, ids=["crop", "small", "large"])
def test_boxes_without_masks_are_where_the_masks_are(options):
    """To the pixel: the edge of a scaled box lies within one pixel, the edge of a mask between two."""
    numbers = rectangles()
    for seed in range(20):
        results = []
        for masks in (True, False):
            torch.manual_seed(seed)
            results.append(object_transform(**options)(sample_of(numbers, masks=masks)))
        drawn = dict(zip(results[0]["labels"].tolist(), results[0]["boxes"].tolist(), strict=True))
        for label, box in zip(results[1]["labels"].tolist(), results[1]["boxes"].tolist(), strict=True):
            assert label in drawn and np.abs(np.subtract(box, drawn[label])).max() < 1
        thin = set(drawn) - set(results[1]["labels"].tolist())
        assert all(min(drawn[label][2] - drawn[label][0], drawn[label][3] - drawn[label][1]) <= 2 for label in thin)


def test_nothing_changes_without_scale_and_a_flip_is_exact():
    sample = sample_of(rectangles())
    same = object_transform(crop=SIZE, scales=(1.0, 1.0), flip=0.0)(sample)
    flipped = object_transform(crop=SIZE, scales=(1.0, 1.0), flip=1.0)(sample)
    for name in ("image", "boxes", "masks", "labels", "crowd"):
        assert torch.equal(same[name], sample[name]), name
    assert torch.equal(flipped["masks"], sample["masks"].flip(-1))
    left, top, right, bottom = sample["boxes"].unbind(1)
    assert torch.equal(flipped["boxes"].as_subclass(Tensor), torch.stack((52 - right, top, 52 - left, bottom), 1))


def test_images_without_objects():
    sample = sample_of(rectangles())
    for name in ("labels", "crowd"):
        sample[name] = sample[name][:0]
    sample |= {"boxes": bounding_boxes(torch.zeros(0, 4), SIZE), "masks": tv_tensors.Mask(sample["masks"][:0])}
    result = object_transform(crop=30)(sample)
    assert result["boxes"].shape == (0, 4) and result["masks"].shape == (0, 30, 30) and len(result["labels"]) == 0


@pytest.mark.parametrize("options", OPTIONS, ids=["crop", "small", "large"])
def test_segments_follow_the_labels(options):
    numbers = rectangles() * 1000
    found = numbers.unique()[1:]
    sample: PanopticSample = {
        "image": tv_tensors.Image(torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)),
        "segments": tv_tensors.Mask(numbers),
        "numbers": found,
        "labels": found // 500,
        "crowd": found == 3000,
        "image_id": 1,
        "name": "made",
    }
    for seed in range(10):
        image, moved = transformed_numbers(numbers, sample["image"], seed, **options)
        torch.manual_seed(seed)
        result = panoptic_transform(**options)(sample)
        present = moved.unique()[moved.unique() > 0]
        assert torch.equal(result["image"], image) and torch.equal(result["segments"], moved)
        assert torch.equal(result["numbers"], present) and torch.equal(result["labels"], present // 500)
        assert torch.equal(result["crowd"], present == 3000)


def test_real_objects_and_crowds(data_dir: Path):
    root = data_dir / "samples" / "coco_panoptic"
    if not root.is_dir():
        pytest.skip(f"{root} does not exist")
    pytest.importorskip("pycocotools", reason="pip install 'featalign[detection]'")
    files = root / "annotations" / "instances_val2017.json", root / "val2017"
    padded = object_transform(crop=(500, 700), scales=(1.0, 1.0), flip=0.0)
    whole, cropped = open_objects(*files)[0], open_objects(*files, transform=padded)[0]
    assert cropped["crowd"].sum() == whole["crowd"].sum() > 0
    assert torch.equal(cropped["masks"].sum((1, 2)), whole["masks"].sum((1, 2)))
