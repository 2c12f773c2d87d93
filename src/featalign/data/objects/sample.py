"""What one item of a data set of objects is, and what torchvision's detectors want of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes

from featalign.spec import IGNORE_INDEX


class ObjectSample(TypedDict):
    """An image and its N objects.

    ``image``: uint8 (C, H, W). ``boxes``: (N, 4), left, top, right, bottom in pixels, edges of pixels, so that a box
    around one pixel is 1 wide. ``masks``: uint8 (N, H, W), 0 or 1, in the order of the boxes; absent where boxes alone
    are read. ``labels``: class ids from 0, int64 (N). ``crowd``: bool (N), groups of objects drawn as one.
    ``image_id``: COCO's number. ``name``: for files and logs.
    """

    image: tv_tensors.Image
    boxes: tv_tensors.BoundingBoxes
    masks: NotRequired[tv_tensors.Mask]
    labels: Tensor
    crowd: Tensor
    image_id: int
    name: str


class PanopticSample(TypedDict):
    """An image and its segments.

    ``segments``: the number of the segment at each pixel, int64 (H, W), 0 for void. ``numbers`` (N): those that occur,
    with the class id of each in ``labels`` (N) and whether it is a group of objects in ``crowd`` (N).
    """

    image: tv_tensors.Image
    segments: tv_tensors.Mask
    numbers: Tensor
    labels: Tensor
    crowd: Tensor
    image_id: int
    name: str


def detection_target(sample: ObjectSample) -> dict[str, Tensor]:
    """The target that torchvision's detectors train on: the objects without crowds, labels from 1 (0 is background).

    An image without objects gives empty tensors, which the detectors take for pure background.
    """
    single = ~sample["crowd"]
    target = {
        "boxes": sample["boxes"].as_subclass(Tensor)[single],
        "labels": sample["labels"][single] + 1,
        "image_id": torch.tensor(sample["image_id"]),
    }
    if "masks" in sample:
        target["masks"] = sample["masks"].as_subclass(Tensor)[single]
    return target


def panoptic_target(sample: PanopticSample, things: Sequence[int]) -> dict[str, Tensor]:
    """The target that panoptic networks train on: objects as of :func:`detection_target`, and a class at each pixel.

    Args:
        sample: an image and its segments.
        things: ids of the classes whose objects are told apart.

    Returns:
        ``boxes`` (N, 4), ``labels`` (N) from 1 in the order of all classes, ``masks`` uint8 (N, H, W): the segments of
        ``things`` that are no crowds. ``semantic``: class ids from 0, int64 (H, W), crowds included, 255 for void.
        ``image_id``.
    """
    segments = sample["segments"].as_subclass(Tensor)
    single = torch.isin(sample["labels"], torch.tensor(things, dtype=torch.int64)) & ~sample["crowd"]
    masks = (segments == sample["numbers"][single][:, None, None]).to(torch.uint8)
    return {
        "boxes": mask_boxes(masks),
        "labels": sample["labels"][single] + 1,
        "masks": masks,
        "semantic": class_ids(sample),
        "image_id": torch.tensor(sample["image_id"]),
    }


def class_ids(sample: PanopticSample) -> Tensor:
    """The class at each pixel, from 0, int64 (H, W); 255 for void."""
    segments = sample["segments"].as_subclass(Tensor)
    ids = torch.full_like(segments, IGNORE_INDEX)
    for number, label in zip(sample["numbers"], sample["labels"], strict=True):
        ids[segments == number] = label
    return ids


def mask_boxes(masks: Tensor) -> Tensor:
    """Boxes (N, 4) around masks (N, H, W), at the edges of pixels; none of the masks is empty."""
    boxes = masks_to_boxes(masks)
    boxes[:, 2:] += 1  # it gives the last pixel, not its edge
    return boxes


def bounding_boxes(boxes: Tensor, size: tuple[int, int]) -> tv_tensors.BoundingBoxes:
    """Boxes (N, 4), left, top, right, bottom, on an image of this height and width."""
    return tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size)
