"""Objects and segments of data sets that label pixels: Cityscapes' files of objects, or a segment for each class.

mask (H, W) ─────────┬─▶ segments ─▶ LabelledSegments, for panoptic networks
numbers of objects ──┘           └─▶ LabelledObjects, the things among them, for detectors
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from featalign.data.dataset import SegmentationDataset
from featalign.data.objects.dataset import ObjectDataset
from featalign.data.objects.panoptic import PanopticDataset
from featalign.data.objects.rle import encode
from featalign.data.objects.sample import ObjectSample, PanopticSample, bounding_boxes, mask_boxes
from featalign.data.pairs import Pair
from featalign.errors import DataError
from featalign.spec import Classes


class Divided(NamedTuple):
    """The segments of one mask: numbers (H, W), 0 for void; and of each its number, class and whether it is a crowd."""

    segments: NDArray[np.int64]
    numbers: list[int]
    labels: list[int]
    crowd: list[bool]


class LabelledSegments(Dataset[PanopticSample]):
    """One segment for each object where the data set tells them apart, and one for each other class in an image.

    What is of a class of things but of no object, as Cityscapes' groups are, is a crowd.

    Args:
        pixels: the data set, without a transform.
        transform: from a sample to a sample, such as :func:`~featalign.data.objects.panoptic_transform`.

    Attributes:
        classes: names and colours.
        things: ids of the classes whose objects are told apart; none, where the data set has no such files.
    """

    def __init__(
        self, pixels: SegmentationDataset, *, transform: Callable[[PanopticSample], PanopticSample] | None = None
    ) -> None:
        self.pixels, self.transform = pixels, transform
        self.classes, self.things = pixels.classes, pixels.instance_classes

    @property
    def samples(self) -> tuple[Pair, ...]:
        """Image and mask of each sample."""
        return self.pixels.samples

    def fill_cache(self) -> None:
        """See :meth:`SegmentationDataset.fill_cache`."""
        self.pixels.fill_cache()

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> PanopticSample:
        pixels = self.pixels[index]
        found = self.divided(index, pixels["mask"].numpy())
        sample: PanopticSample = {
            "image": pixels["image"],
            "segments": tv_tensors.Mask(torch.from_numpy(found.segments)),
            "numbers": torch.tensor(found.numbers, dtype=torch.int64),
            "labels": torch.tensor(found.labels, dtype=torch.int64),
            "crowd": torch.tensor(found.crowd, dtype=torch.bool),
            "image_id": index + 1,
            "name": pixels["name"],
        }
        return self.transform(sample) if self.transform else sample

    def divided(self, index: int, ids: NDArray[np.integer]) -> Divided:
        """The segments of a mask of class ids. Raises DataError if the file of objects is of another size."""
        objects = self.pixels.instances(index) if self.things else None
        if objects is None:
            objects = np.zeros(ids.shape, np.int32)
        if objects.shape != ids.shape:
            file = self.samples[index].instances
            raise DataError(f"{file}: {objects.shape} (H, W), but the mask has {ids.shape}; both must be of one size")
        alone = np.where(np.isin(ids, self.things), objects, 0).astype(np.int64)
        void = ids == self.classes.ignore_index
        pairs, places = np.unique((alone * len(self.classes) + ids)[~void], return_inverse=True)
        segments = np.zeros(ids.shape, np.int64)
        segments[~void] = places + 1
        which, labels = np.divmod(pairs, len(self.classes))
        crowd = np.isin(labels, self.things) & (which == 0)
        return Divided(segments, [*range(1, len(pairs) + 1)], labels.tolist(), crowd.tolist())


class LabelledObjects(Dataset[ObjectSample]):
    """The objects of a data set that tells them apart; their classes are all there are.

    Images without an object are background.

    Args:
        pixels: the data set, without a transform.
        transform: from a sample to a sample, such as :func:`~featalign.data.objects.object_transform`.

    Attributes:
        classes: those of things, in their order.
        categories: the number of each in COCO's rows, from 1.
        masks: that objects have masks.

    Raises:
        DataError: if it does not tell objects apart.
    """

    masks = True

    def __init__(
        self, pixels: SegmentationDataset, *, transform: Callable[[ObjectSample], ObjectSample] | None = None
    ) -> None:
        self.segments, self.transform = LabelledSegments(pixels), transform
        things = self.segments.things
        if not things:
            raise DataError("this data set labels pixels and does not tell objects apart; a detector needs their files")
        every = pixels.classes
        self.classes = Classes(tuple(every.names[i] for i in things), tuple(every.colors[i] for i in things))
        self.categories = tuple(range(1, len(things) + 1))

    @property
    def samples(self) -> tuple[Pair, ...]:
        """Image and mask of each sample."""
        return self.segments.samples

    def fill_cache(self) -> None:
        """See :meth:`SegmentationDataset.fill_cache`."""
        self.segments.fill_cache()

    @cached_property
    def truth(self) -> dict[str, Any]:
        """All objects as a file of COCO's would list them; reads every mask once."""
        images: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        for index in range(len(self)):
            ids = self.segments.pixels.ids(index)
            images.append({"id": index + 1, "height": ids.shape[0], "width": ids.shape[1]})
            masks, labels, crowd = self._objects(self.segments.divided(index, ids))
            for mask, (left, top, right, bottom), label, group in zip(
                masks, mask_boxes(masks).tolist(), labels, crowd, strict=True
            ):
                row = {"id": len(rows) + 1, "image_id": index + 1, "category_id": label + 1, "iscrowd": int(group)}
                box = [left, top, right - left, bottom - top]
                rows.append({**row, "bbox": box, "area": int(mask.sum()), "segmentation": encode(mask.numpy())})
        categories = [{"id": i, "name": name} for i, name in zip(self.categories, self.classes.names, strict=True)]
        return {"images": images, "annotations": rows, "categories": categories}

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> ObjectSample:
        sample = self.segments[index]
        found = Divided(sample["segments"].numpy(), *(sample[name].tolist() for name in ("numbers", "labels", "crowd")))
        masks, labels, crowd = self._objects(found)
        objects: ObjectSample = {
            "image": sample["image"],
            "boxes": bounding_boxes(mask_boxes(masks), found.segments.shape),
            "masks": tv_tensors.Mask(masks),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "crowd": torch.tensor(crowd, dtype=torch.bool),
            "image_id": sample["image_id"],
            "name": sample["name"],
        }
        return self.transform(objects) if self.transform else objects

    def _objects(self, found: Divided) -> tuple[Tensor, list[int], list[bool]]:
        """Masks uint8 (N, H, W) and, of each, its class among the things and whether it is a crowd."""
        things = self.segments.things
        kept = [i for i, label in enumerate(found.labels) if label in things]
        numbers = np.array([found.numbers[i] for i in kept], np.int64)
        masks = torch.from_numpy((found.segments == numbers[:, None, None]).astype(np.uint8))
        return masks, [things.index(found.labels[i]) for i in kept], [found.crowd[i] for i in kept]


AnyObjects = ObjectDataset | LabelledObjects
AnySegments = PanopticDataset | LabelledSegments
"""From whatever files."""
