"""The augmentation of images with objects or segments: that of every other image here, and what it leaves of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from featalign.data.objects.sample import ObjectSample, PanopticSample, bounding_boxes, mask_boxes
from featalign.data.transforms import train_transform, whole_transform
from featalign.spec import IGNORE_INDEX

_VOID = 0


def object_transform(**options: Any) -> Callable[[ObjectSample], ObjectSample]:
    """:func:`featalign.data.train_transform`, with its options, for boxes, masks and crowds.

    ``crop=None`` leaves images whole and at their own size. Padding is no object's. Boxes are cut to the crop, and
    drawn anew around the masks where there are any; objects of which less than a pixel is left are dropped.
    """
    return v2.Compose([_augmented(IGNORE_INDEX, **options), keep_visible])


def panoptic_transform(**options: Any) -> Callable[[PanopticSample], PanopticSample]:
    """:func:`featalign.data.train_transform`, with its options, for segments: padding is void, what left is dropped.

    ``crop=None`` leaves images whole and at their own size.
    """
    return v2.Compose([_augmented(_VOID, **options), keep_present])


def _augmented(padding: int, *, crop: int | tuple[int, int] | None, **options: Any) -> Callable[[Any], Any]:
    if crop is None:
        return whole_transform(**options)
    return train_transform(crop=crop, ignore_index=padding, **options)


def keep_visible(sample: ObjectSample) -> ObjectSample:
    """The sample with the objects that can still be seen."""
    size = (sample["image"].shape[-2], sample["image"].shape[-1])
    boxes = sample["boxes"].as_subclass(Tensor)
    if "masks" not in sample:
        seen = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)
        return _chosen(sample, seen, boxes[seen], size)
    masks = sample["masks"].as_subclass(Tensor)
    seen = (masks > 0).flatten(1).any(1)
    kept = _chosen(sample, seen, mask_boxes(masks[seen]), size)
    kept["masks"] = tv_tensors.Mask(masks[seen])
    return kept


def keep_present(sample: PanopticSample) -> PanopticSample:
    """The sample with the segments that still have a pixel."""
    seen = torch.isin(sample["numbers"], sample["segments"].as_subclass(Tensor).unique())
    return {
        **sample,
        "numbers": sample["numbers"][seen],
        "labels": sample["labels"][seen],
        "crowd": sample["crowd"][seen],
    }


def _chosen(sample: ObjectSample, seen: Tensor, boxes: Tensor, size: tuple[int, int]) -> ObjectSample:
    return {
        **sample,
        "boxes": bounding_boxes(boxes, size),
        "labels": sample["labels"][seen],
        "crowd": sample["crowd"][seen],
    }
