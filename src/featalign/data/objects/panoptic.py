"""COCO's panoptic format: a PNG of segment numbers for each image, and a JSON file that says what each of them is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from torchvision import tv_tensors

from featalign.data.images import load_image
from featalign.data.objects.coco import image_path, keyed, load_json, require
from featalign.data.objects.sample import PanopticSample
from featalign.data.reading import DEFAULT_MAX_PIXELS
from featalign.errors import DataError
from featalign.spec import Classes

_WEIGHTS = np.array([1, 256, 65536])  # of red, green and blue in a segment's number


@dataclass(frozen=True)
class PanopticImage:
    """One image: its file, the PNG of its segments, the class id of each and which of them are crowds."""

    number: int
    image: Path
    segments: Path
    labels: Mapping[int, int]
    crowds: frozenset[int]

    @property
    def name(self) -> str:
        """For files and logs."""
        return self.image.stem


class PanopticDataset(Dataset[PanopticSample]):
    """Images and their segments, read when they are asked for. Opened by :func:`open_panoptic`.

    Attributes:
        classes: names and colours, in the order of COCO's numbers.
        categories: COCO's number of each class.
        things: ids of the classes whose objects are told apart.
        images: in the order of their numbers.
        unlabelled: names of the files that the JSON file lists without segments; they are left out.
    """

    def __init__(
        self,
        images: tuple[PanopticImage, ...],
        classes: Classes,
        categories: tuple[int, ...],
        things: tuple[int, ...],
        *,
        unlabelled: tuple[str, ...] = (),
        channels: int = 3,
        transform: Callable[[PanopticSample], PanopticSample] | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        self.images, self.classes, self.categories, self.things = images, classes, categories, things
        self.unlabelled = unlabelled
        self.channels, self.transform, self.max_pixels = channels, transform, max_pixels

    @property
    def samples(self) -> tuple[PanopticImage, ...]:
        """The images, under the name that they have in every data set here."""
        return self.images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> PanopticSample:
        image = self.images[index]
        pixels = load_image(image.image, channels=self.channels, max_pixels=self.max_pixels).pixels
        segments = read_segments(image, self.max_pixels)
        if pixels.shape[:2] != segments.shape:
            raise DataError(f"{image.segments}: {segments.shape} (H, W), but {image.image} has {pixels.shape[:2]}")
        numbers = sorted(image.labels)
        sample: PanopticSample = {
            "image": tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1)),
            "segments": tv_tensors.Mask(torch.from_numpy(segments)),
            "numbers": torch.tensor(numbers, dtype=torch.int64),
            "labels": torch.tensor([image.labels[number] for number in numbers], dtype=torch.int64),
            "crowd": torch.tensor([number in image.crowds for number in numbers], dtype=torch.bool),
            "image_id": image.number,
            "name": image.name,
        }
        return self.transform(sample) if self.transform else sample


def open_panoptic(
    annotations: Path | str,
    images: Path | str,
    *,
    segments: Path | str | None = None,
    channels: int = 3,
    transform: Callable[[PanopticSample], PanopticSample] | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> PanopticDataset:
    """COCO's ``panoptic_*.json`` with its PNG files and images as a dataset; opens no image yet.

    Args:
        annotations: the JSON file.
        images: the folder of the images.
        segments: the folder of the PNG files; by default the one beside the JSON file that has its name.
        channels: of the images, as the model reads them.
        transform: from a sample to a sample, such as :func:`~featalign.data.objects.panoptic_transform`.
        max_pixels: largest image that is decoded.

    Raises:
        DataError: naming the file, if it is not such a file, or a segment is of a category that it does not list.
    """
    path = Path(annotations)
    content = load_json(path)
    rows = {name: keyed(content, name, path) for name in ("images", "categories")}
    require(rows["images"], "images", ("file_name",), path)
    require(rows["categories"], "categories", ("name", "isthing"), path)
    answers = keyed(content, "annotations", path, key="image_id")
    categories = tuple(sorted(rows["categories"]))
    folder = path.with_suffix("") if segments is None else Path(segments)
    try:
        classes, things = _classes(rows["categories"])
        found = []
        for number, row in sorted(answers.items()):
            if number not in rows["images"]:
                raise DataError(f"{path}: segments of image {number}, which the file does not list")
            owners = {int(segment["id"]): int(segment["category_id"]) for segment in row["segments_info"]}
            if len(owners) != len(row["segments_info"]):
                raise DataError(f"{path}: image {number} has segments that repeat the number of another")
            strays = sorted(set(owners.values()) - set(categories))
            if strays:
                raise DataError(f"{path}: image {number} has segments of categories {strays}, which are not listed")
            labels = {segment: categories.index(category) for segment, category in owners.items()}
            grouped = [segment for segment in row["segments_info"] if int(segment.get("iscrowd") or 0)]
            crowds = frozenset(int(segment["id"]) for segment in grouped)
            image = image_path(Path(images), str(rows["images"][number]["file_name"]))
            found.append(PanopticImage(number, image, image_path(folder, str(row["file_name"])), labels, crowds))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected COCO's panoptic format, got {error!r}") from error
    return PanopticDataset(
        tuple(found),
        classes,
        categories,
        things,
        unlabelled=tuple(str(row["file_name"]) for number, row in rows["images"].items() if number not in answers),
        channels=channels,
        transform=transform,
        max_pixels=max_pixels,
    )


def read_segments(image: PanopticImage, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.int64]:
    """The number of the segment at each pixel, int64 (H, W): red + 256 green + 65536 blue; 0 is void.

    Raises:
        DataError: naming the file, if it and the JSON file do not list the same segments.
    """
    numbers = load_image(image.segments, channels=3, max_pixels=max_pixels).pixels.astype(np.int64) @ _WEIGHTS
    present = set(np.unique(numbers).tolist()) - {0}
    without = sorted(set(image.labels) - present)
    unnamed = sorted(present - set(image.labels))
    if without or unnamed:
        which = f"segments {without[:5]} of the JSON file have no pixel" if without else ""
        other = f"segments {unnamed[:5]} are not in the JSON file" if unnamed else ""
        raise DataError(f"{image.segments}: {' and '.join(part for part in (which, other) if part)}")
    return numbers


def _classes(rows: Mapping[int, Mapping[str, Any]]) -> tuple[Classes, tuple[int, ...]]:
    """Classes in the order of their numbers, with the colours of the file, and the ids of the things."""
    ordered = [row for _, row in sorted(rows.items())]
    named = Classes.named([str(row["name"]) for row in ordered])
    things = tuple(label for label, row in enumerate(ordered) if int(row["isthing"]))
    if not all("color" in row for row in ordered):
        return named, things
    table = [{"id": label, "name": row["name"], "color": row["color"]} for label, row in enumerate(ordered)]
    return Classes.from_json({"classes": table}), things
