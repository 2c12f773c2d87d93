"""The scores that follow from a confusion matrix, and what all results of metrics have in common."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from featalign.metrics.counts import class_counts, iou, mean_accuracy, mean_iou, pixel_accuracy


class Result:
    """Base of the dataclasses that metrics give: plain numbers in [0, 1], nan where there is nothing to count."""

    def to_json(self) -> dict[str, Any]:
        """The fields by name, with None for nan: JSON knows no nan."""
        assert dataclasses.is_dataclass(self)
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


@dataclass(frozen=True)
class Scores(Result):
    """The scores of one confusion matrix, each in [0, 1], or nan where there is nothing to count."""

    miou: float
    """Mean of the IoU over the classes that occur in the truth."""
    iou: list[float]
    """TP / (TP + FP + FN) of each class; nan where the class is absent."""
    pixel_accuracy: float
    mean_accuracy: float
    """Mean of the recall over the classes that occur in the truth."""
    absent: list[int]
    """Ids of the classes without a pixel in the truth: left out of both means, even if they were predicted."""


def scores(matrix: Tensor) -> Scores:
    """Scores of a confusion matrix (K, K), rows = truth.

    A class without a pixel in the truth has no score and is left out of the means, whether or not it was predicted:
    a score of 0 would say something of the split rather than of the model. Predicting it still costs, as a miss of
    the class that was really there.
    """
    return scores_of_counts(class_counts(matrix).cpu().numpy())


def scores_of_counts(counts: NDArray[np.int64]) -> Scores:
    """:func:`scores` from counts (3, K): true positives, false positives and false negatives of each class."""
    per_class = iou(counts)
    return Scores(
        miou=float(mean_iou(counts)),
        iou=per_class.tolist(),
        pixel_accuracy=float(pixel_accuracy(counts)),
        mean_accuracy=float(mean_accuracy(counts)),
        absent=np.flatnonzero(np.isnan(per_class)).tolist(),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
