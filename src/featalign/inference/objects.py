"""From an image to the objects in it, and from a set of images to average precision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from featalign.data import DEFAULT_MAX_PIXELS, Progress, read_image, silent
from featalign.data.objects import AnyObjects, coco_results
from featalign.errors import DataError
from featalign.figures.objects import object_overlay
from featalign.figures.palette import Pixels
from featalign.inference.checks import check_classes
from featalign.inference.devices import choose_device
from featalign.metrics import DetectionScores, average_precision
from featalign.metrics.detection import Kind, require_pycocotools
from featalign.models import Detector
from featalign.spec import Classes


@dataclass(frozen=True)
class Objects:
    """What was found in one image, the surest first.

    ``boxes``: float32 (N, 4), left, top, right, bottom in pixels. ``labels``: class ids from 0, int64 (N). ``scores``:
    float32 (N), 0 … 1. ``masks``: bool (N, H, W), None from detectors without masks.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    masks: NDArray[np.bool_] | None
    classes: Classes

    @classmethod
    def of(cls, answer: Mapping[str, Tensor], classes: Classes, *, threshold: float) -> Objects:
        """Those of a network's answer that score at least ``threshold``."""
        kept = answer["scores"] >= threshold
        return cls(
            boxes=answer["boxes"][kept].numpy(),
            labels=answer["labels"][kept].numpy() - 1,
            scores=answer["scores"][kept].numpy(),
            masks=(answer["masks"][kept, 0] >= 0.5).numpy() if "masks" in answer else None,
            classes=classes,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def overlay(self, image: Pixels, *, alpha: float = 0.5) -> Image.Image:
        """The image, uint8 (H, W, 3), with the objects drawn over it."""
        captions = [
            f"{self.classes.names[label]} {score:.2f}" for label, score in zip(self.labels, self.scores, strict=True)
        ]
        return object_overlay(image, self.boxes, captions, masks=self.masks, alpha=alpha)

    def to_coco(self, *, image_id: int, categories: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """COCO's result rows; ``categories``: COCO's number of each class, 1 … K by default."""
        answer = {"boxes": self.boxes, "labels": self.labels + 1, "scores": self.scores}
        if self.masks is not None:
            answer["masks"] = self.masks[:, None]
        tensors = {name: torch.from_numpy(values) for name, values in answer.items()}
        numbers = range(1, len(self.classes) + 1) if categories is None else categories
        return coco_results(tensors, image_id=image_id, categories=numbers)


def detect(
    model: Detector,
    image: Path | str | Pixels,
    *,
    threshold: float = 0.5,
    device: str = "auto",
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Objects:
    """The objects in one image: ``detect(load_detector("detector"), "photo.jpg")``.

    Args:
        model: put into evaluation mode and moved to the device.
        image: a file, or uint8 (H, W, C).
        threshold: least score of an object that is kept.
        device: ``auto`` takes a GPU if there is one.
        max_pixels: larger files are refused before they are decoded.

    Raises:
        DataError: if the file cannot be read, or has other channels; if the network gives segments alone.
    """
    (answer,) = answers(model, [as_image(model, image, max_pixels=max_pixels)], device=device)
    if "boxes" not in answer:
        raise DataError("this network divides images into segments: use segment and score_panoptic")
    return Objects.of(answer, model.classes, threshold=threshold)


def score_detector(
    model: Detector,
    dataset: AnyObjects,
    *,
    boundary: bool = False,
    device: str = "auto",
    progress: Progress = silent,
) -> dict[Kind, DetectionScores]:
    """Average precision over a set: by ``bbox``, and by ``segm`` where the model and the set have masks; then, with
    ``boundary``, by ``boundary`` too, which takes some milliseconds for each mask.

    Crowds count as in COCO: detections inside them are neither right nor wrong. All detections are scored, also unsure
    ones.

    Raises:
        DataError: if the model's classes are not as many as the set's, or numbered otherwise.
        ConfigError: if pycocotools is missing.
    """
    check_classes(model.classes, dataset.classes)
    require_pycocotools()
    rows: list[dict[str, Any]] = []
    masks = False
    for index in progress(range(len(dataset)), total=len(dataset), description="scoring"):
        sample = dataset[index]
        (answer,) = answers(model, [sample["image"].as_subclass(Tensor)], device=device)
        masks = dataset.masks and "masks" in answer
        rows += coco_results(answer, image_id=sample["image_id"], categories=dataset.categories)
    kinds: list[Kind] = ["bbox"]
    if masks:
        kinds += ["segm", "boundary"] if boundary else ["segm"]
    return {kind: average_precision(dataset.truth, rows, kind=kind) for kind in kinds}


def as_image(model: Detector, image: Path | str | Pixels, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Tensor:
    """A file, or uint8 (H, W, C), as uint8 (C, H, W). Raises DataError."""
    channels = model.in_channels
    pixels = read_image(image, channels=channels, max_pixels=max_pixels) if isinstance(image, Path | str) else image
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != channels:
        raise DataError(f"got an image {pixels.dtype} {pixels.shape}; expected uint8 (H, W, {channels})")
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)


@torch.no_grad()
def answers(model: Detector, images: Iterable[Tensor], *, device: str = "auto") -> Iterator[dict[str, Tensor]]:
    """What the network itself says of each image, uint8 (C, H, W), on the CPU; it is put into evaluation mode."""
    place = choose_device(device)
    model.to(place).eval()
    for image in images:
        (answer,) = model([image.to(place)])
        yield {name: values.cpu() for name, values in answer.items()}
