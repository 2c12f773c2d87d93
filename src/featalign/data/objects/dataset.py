"""COCO's objects as a PyTorch dataset."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from torchvision import tv_tensors

from featalign.data.images import load_image
from featalign.data.objects.coco import Annotation, CocoFile, CocoImage, image_path, read_coco
from featalign.data.objects.rle import decode
from featalign.data.objects.sample import ObjectSample, bounding_boxes
from featalign.data.reading import DEFAULT_MAX_PIXELS
from featalign.errors import ConfigError, DataError
from featalign.spec import Classes

Faulty = Literal["stop", "skip"]
Empty = Literal["keep", "drop"]


class ObjectDataset(Dataset[ObjectSample]):
    """Images with boxes and masks, read when they are asked for. Opened by :func:`open_objects`.

    Attributes:
        file: what the JSON file says.
        images: the images of the set, by number.
        skipped: the reason for each annotation left out so far, by its number.
    """

    def __init__(
        self,
        file: CocoFile,
        folder: Path,
        *,
        masks: bool = True,
        faulty: Faulty = "stop",
        empty: Empty = "keep",
        channels: int = 3,
        transform: Callable[[ObjectSample], ObjectSample] | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        for name, value, options in (("faulty", faulty, Faulty), ("empty", empty, Empty)):
            if value not in get_args(options):
                raise ConfigError(f"{name} must be {' or '.join(get_args(options))}, got {value!r}")
        self.file, self.folder, self.masks, self.faulty = file, folder, masks, faulty
        self.channels, self.transform, self.max_pixels = channels, transform, max_pixels
        self.skipped: dict[int, str] = dict(file.faulty)
        if self.skipped and faulty == "stop":
            number, reason = next(iter(self.skipped.items()))
            raise DataError(
                f"{file.path}: annotation {number} {reason}; {len(self.skipped)} such; correct the file, or leave them "
                'out with faulty="skip"'
            )
        self.images = tuple(image for image in file.images if empty == "keep" or has_objects(image))
        if not self.images:
            raise DataError(f"{file.path}: none of {len(file.images)} images has an object that is not a crowd")

    @property
    def classes(self) -> Classes:
        """Names and colours."""
        return self.file.classes

    @property
    def categories(self) -> tuple[int, ...]:
        """COCO's number of each class."""
        return self.file.categories

    @property
    def samples(self) -> tuple[CocoImage, ...]:
        """The images, under the name that they have in every data set here."""
        return self.images

    @cached_property
    def truth(self) -> dict[str, Any]:
        """The objects of the set in COCO's form: what :func:`featalign.metrics.average_precision` compares with.

        An ``iscrowd`` that the file leaves out is 0, an ``area`` that of the mask, or of the box without masks. Where
        that is needed, or faulty annotations are skipped, every mask is looked at.
        """
        images = [{"id": one.number, "height": one.height, "width": one.width} for one in self.images]
        categories = [{"id": i, "name": name} for i, name in zip(self.categories, self.classes.names, strict=True)]
        rows = [self._row(one, image) for image in self.images for one in image.objects]
        return {"images": images, "annotations": [row for row in rows if row], "categories": categories}

    def _row(self, one: Annotation, image: CocoImage) -> dict[str, Any] | None:
        """COCO's row of an object; None if it is to be left out."""
        area = one.area
        if self.masks and (area is None or self.faulty == "skip"):
            mask = self._mask(one, (image.height, image.width))
            if mask is None:
                return None
            area = int(mask.sum()) if area is None else area
        return {
            "id": one.number,
            "image_id": image.number,
            "category_id": self.categories[one.label],
            "iscrowd": int(one.crowd),
            "bbox": list(one.box),
            "area": one.box[2] * one.box[3] if area is None else area,
            **({"segmentation": one.segmentation} if self.masks else {}),
        }

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> ObjectSample:
        sample = self._read(self.images[index])
        return self.transform(sample) if self.transform else sample

    def _read(self, image: CocoImage) -> ObjectSample:
        path = image_path(self.folder, image.file_name)
        pixels = load_image(path, channels=self.channels, max_pixels=self.max_pixels).pixels
        size = (image.height, image.width)
        if pixels.shape[:2] != size:
            raise DataError(f"{path}: {pixels.shape[:2]} (H, W), but {self.file.path} says {size}")
        drawn = [(one, self._mask(one, size) if self.masks else None) for one in image.objects]
        objects = [one for one, mask in drawn if not self.masks or mask is not None]
        boxes = torch.tensor([one.box for one in objects], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        sample: ObjectSample = {
            "image": tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1)),
            "boxes": bounding_boxes(boxes, size),
            "labels": torch.tensor([one.label for one in objects], dtype=torch.int64),
            "crowd": torch.tensor([one.crowd for one in objects], dtype=torch.bool),
            "image_id": image.number,
            "name": image.name,
        }
        if self.masks:
            stack = np.array([mask for _, mask in drawn if mask is not None], np.uint8).reshape(-1, *size)
            sample["masks"] = tv_tensors.Mask(torch.from_numpy(stack))
        return sample

    def _mask(self, annotation: Annotation, size: tuple[int, int]) -> NDArray[np.uint8] | None:
        """The mask of one object; None if it is to be left out."""
        try:
            return object_mask(annotation, size)
        except DataError as error:
            if self.faulty == "stop":
                raise DataError(f"{self.file.path}: annotation {annotation.number} {error}") from error
            self.skipped[annotation.number] = str(error)
            return None


def open_objects(
    annotations: Path | str,
    images: Path | str,
    *,
    masks: bool = True,
    faulty: Faulty = "stop",
    empty: Empty = "keep",
    channels: int = 3,
    transform: Callable[[ObjectSample], ObjectSample] | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> ObjectDataset:
    """COCO's ``instances_*.json`` and its folder of images as a dataset; opens no image yet.

    Args:
        annotations: the JSON file.
        images: the folder that its ``file_name`` s are in.
        masks: whether objects have masks; False reads boxes alone, and files that hold nothing else.
        faulty: what to do about annotations that cannot be used (category or image not listed, box without area or
            outside the image, mask empty or of another size): ``stop`` with the first, or ``skip`` them and count in
            ``skipped``. Boxes that reach beyond the image are cut.
        empty: whether to ``keep`` images without an object, crowds not counted, or ``drop`` them, as for training: an
            image of nothing but a crowd would teach that the crowd is background.
        channels: of the images, as the model reads them.
        transform: from a sample to a sample, such as :func:`~featalign.data.objects.object_transform`.
        max_pixels: largest image that is decoded.

    Raises:
        DataError: naming the file, if it cannot be used.
        ConfigError: if ``faulty`` or ``empty`` is neither of the two.
    """
    return ObjectDataset(
        read_coco(annotations),
        Path(images),
        masks=masks,
        faulty=faulty,
        empty=empty,
        channels=channels,
        transform=transform,
        max_pixels=max_pixels,
    )


def has_objects(image: CocoImage) -> bool:
    """Whether there is more in it than crowds."""
    return any(not one.crowd for one in image.objects)


def object_mask(annotation: Annotation, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The mask (H, W) of an object. Raises DataError, without a name, if there is none or it is empty."""
    if annotation.segmentation is None:
        raise DataError("has no segmentation; read the boxes alone with masks=False")
    mask = decode(annotation.segmentation, *size)
    if not mask.any():
        raise DataError("has an empty mask")
    return mask
