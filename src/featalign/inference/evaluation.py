"""Scores of a model over a whole split, at the masks' own resolution."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from featalign.data import Progress, Samples, silent
from featalign.errors import DataError
from featalign.inference.predictor import Predictor, Size
from featalign.metrics import ConfusionMatrix, Scores, boundary_target, scores
from featalign.spec import Classes


class LabelledSamples(Samples, Protocol):
    """A data set that knows its classes."""

    @property
    def classes(self) -> Classes: ...


@dataclass(frozen=True)
class Evaluation:
    """What a split says of a model.

    ``scores``: over all labelled pixels. ``boundary``: the same per band width, over the pixels at most that far from
        another class. ``matrix``: int64 (K, K), rows = truth. ``seconds_per_image``: median, network alone.
    """

    classes: Classes
    scores: Scores
    boundary: dict[int, Scores]
    matrix: Tensor
    images: int
    seconds_per_image: float

    def to_json(self) -> dict[str, Any]:
        """Plain values; absent classes have no IoU and are named."""
        return {
            "images": self.images,
            **_named(self.scores, self.classes),
            "boundary": {f"{width}px": _named(found, self.classes) for width, found in self.boundary.items()},
            "confusion": self.matrix.tolist(),
            "seconds_per_image": round(self.seconds_per_image, 4),
        }


def evaluate(
    predictor: Predictor,
    samples: LabelledSamples,
    *,
    boundary_widths: Sequence[int] = (3,),
    input_size: Size | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Compare a model with every labelled pixel of a split: one exact integer matrix, one image in memory at a time.

    Args:
        predictor: model and how it is run.
        samples: images and masks; the answer is asked at each mask's size.
        boundary_widths: in pixels of the mask.
        input_size: resize the images, not the masks, to this before the network sees them: with a smaller one, detail
            must come from the model rather than from the input.
        progress: shows how far the loop is.

    Raises:
        DataError: if the classes of model and data differ in number, or no pixel is labelled.
    """
    classes = predictor.model.classes
    if len(samples.classes) != len(classes):
        raise DataError(f"the model tells {len(classes)} classes apart, the data has {len(samples.classes)}")
    ignore = samples.classes.ignore_index
    whole = ConfusionMatrix(len(classes), ignore)
    bands = {width: ConfusionMatrix(len(classes), ignore) for width in boundary_widths}
    seconds = []
    for index in progress(range(len(samples)), total=len(samples), description="evaluating"):
        sample = samples[index]
        target = torch.as_tensor(sample["mask"])
        start = time.perf_counter()
        size = (target.shape[-2], target.shape[-1])
        labels = (
            predictor.logits(torch.as_tensor(sample["image"])[None], size=size, input_size=input_size)[0]
            .argmax(0)
            .cpu()
        )
        seconds.append(time.perf_counter() - start)
        whole.update(labels, target)
        for width, band in bands.items():
            band.update(labels, boundary_target(target, width, ignore))
    if not whole.matrix.any():
        raise DataError("no pixel of this split has a label; there is nothing to score")
    return Evaluation(
        classes=classes,
        scores=scores(whole.matrix),
        boundary={width: scores(band.matrix) for width, band in bands.items()},
        matrix=whole.matrix,
        images=len(samples),
        seconds_per_image=float(np.median(seconds)),
    )


def _named(found: Scores, classes: Classes) -> dict[str, Any]:
    return {
        "miou": found.miou,
        "pixel_accuracy": found.pixel_accuracy,
        "mean_accuracy": found.mean_accuracy,
        "iou": {
            name: iou
            for i, (name, iou) in enumerate(zip(classes.names, found.iou, strict=True))
            if i not in found.absent
        },
        "absent": [classes.names[i] for i in found.absent],
    }
