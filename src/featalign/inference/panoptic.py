"""From an image to its panoptic segments, and from a set of images to panoptic quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from featalign.data import DEFAULT_MAX_PIXELS, Progress, silent
from featalign.data.objects import AnySegments, class_ids
from featalign.errors import DataError
from featalign.figures.palette import Pixels
from featalign.figures.segments import segment_overlay
from featalign.inference.checks import check_classes
from featalign.inference.objects import Objects, answers, as_image
from featalign.metrics import ConfusionMatrix, PanopticQuality, PanopticScores
from featalign.models import Detector
from featalign.spec import Classes


@dataclass(frozen=True)
class Segments:
    """What an image was divided into.

    ``segments``: numbers 1 … S, 0 for void, int64 (H, W). ``labels``: class ids from 0, int64 (S). ``scores``: float32
    (S), 0 … 1. ``things``: ids of the classes whose objects are told apart.
    """

    segments: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    classes: Classes
    things: tuple[int, ...]

    @classmethod
    def of(cls, answer: Mapping[str, Tensor], classes: Classes, things: tuple[int, ...]) -> Segments:
        """A network's answer."""
        segments, labels, scores = (answer[name].numpy() for name in ("segments", "segment_labels", "segment_scores"))
        return cls(segments, labels, scores, classes, things)

    def __len__(self) -> int:
        return len(self.labels)

    def overlay(self, image: Pixels, *, alpha: float = 0.5) -> Image.Image:
        """The image, uint8 (H, W, 3), with the segments drawn over it: things each in a colour of its own."""
        names = [self.classes.names[label] for label in self.labels]
        own = Classes.numbered(len(self)).colors if len(self) else ()
        colors = [
            own[number] if label in self.things else self.classes.colors[label]
            for number, label in enumerate(self.labels)
        ]
        return segment_overlay(image, self.segments, colors, names, alpha=alpha)

    def to_coco(self, *, image_id: int, file_name: str, categories: Sequence[int] | None = None) -> dict[str, Any]:
        """The row of COCO's panoptic format that goes with :meth:`to_png` in ``file_name``.

        ``categories``: COCO's number of each class, 1 … K by default.
        """
        numbers = range(1, len(self.classes) + 1) if categories is None else categories
        areas = np.bincount(self.segments.ravel(), minlength=len(self) + 1)
        rows = [
            {"id": number, "category_id": int(numbers[label]), "area": int(areas[number]), "score": float(score)}
            for number, (label, score) in enumerate(zip(self.labels, self.scores, strict=True), start=1)
        ]
        return {"image_id": image_id, "file_name": file_name, "segments_info": rows}

    def to_png(self) -> Image.Image:
        """COCO's picture of the numbers: red + 256 green + 65536 blue."""
        parts = [(self.segments >> shift) & 255 for shift in (0, 8, 16)]
        return Image.fromarray(np.stack(parts, -1).astype(np.uint8))


def segment(
    model: Detector, image: Path | str | Pixels, *, device: str = "auto", max_pixels: int = DEFAULT_MAX_PIXELS
) -> Segments:
    """The segments of one image: ``segment(load_detector("run"), "photo.jpg")``.

    Args:
        model: panoptic; put into evaluation mode and moved to the device.
        image: a file, or uint8 (H, W, C).
        device: ``auto`` takes a GPU if there is one.
        max_pixels: larger files are refused before they are decoded.

    Raises:
        DataError: if the file cannot be read, or has other channels; if the network finds objects alone.
    """
    (answer,) = answers(model, [as_image(model, image, max_pixels=max_pixels)], device=device)
    _require_segments(answer)
    return Segments.of(answer, model.classes, model.things)


def find(
    model: Detector, image: Path | str | Pixels, *, threshold: float = 0.5, device: str = "auto"
) -> Objects | Segments:
    """What :func:`~featalign.inference.detect` or :func:`segment` gives, as the network can. Raises DataError."""
    (answer,) = answers(model, [as_image(model, image)], device=device)
    return understood(model, answer, threshold=threshold)


def understood(model: Detector, answer: Mapping[str, Tensor], *, threshold: float = 0.5) -> Objects | Segments:
    """A network's answer as what it means."""
    if "segments" in answer:
        return Segments.of(answer, model.classes, model.things)
    return Objects.of(answer, model.classes, threshold=threshold)


def score_panoptic(
    model: Detector,
    dataset: AnySegments,
    *,
    confusion: ConfusionMatrix | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> PanopticScores:
    """Panoptic quality over a set.

    Of a network that says the class of each pixel besides, ``confusion`` counts these.

    Raises:
        DataError: if the model's classes are not as many as the set's, or numbered otherwise; if it finds objects
            alone.
    """
    check_classes(model.classes, dataset.classes)
    quality = PanopticQuality(len(dataset.classes), dataset.things)
    for index in progress(range(len(dataset)), total=len(dataset), description="scoring"):
        sample = dataset[index]
        (answer,) = answers(model, [sample["image"].as_subclass(Tensor)], device=device)
        _require_segments(answer)
        if confusion is not None and "semantic" in answer:
            confusion.update(answer["semantic"], class_ids(sample))
        numbers, labels = sample["numbers"].tolist(), sample["labels"].tolist()
        quality.update(
            answer["segments"],
            dict(enumerate(answer["segment_labels"].tolist(), start=1)),
            sample["segments"].as_subclass(Tensor),
            dict(zip(numbers, labels, strict=True)),
            crowds=sample["numbers"][sample["crowd"]].tolist(),
        )
    return quality.scores()


def _require_segments(answer: Mapping[str, Tensor]) -> None:
    if "segments" not in answer:
        raise DataError("this network finds objects and no segments: use detect and score_detector")
