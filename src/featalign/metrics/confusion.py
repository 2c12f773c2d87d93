"""The confusion matrix of a whole split, counted exactly in integers, and the scores that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featalign.spec import IGNORE_INDEX

Labels = Tensor | NDArray[np.integer]


class ConfusionMatrix:
    """Counts of (true class, predicted class) over all valid pixels, streamed image by image.

    >>> confusion = ConfusionMatrix(2)
    >>> confusion.update(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 255]))
    >>> confusion.matrix.tolist()
    [[1, 1], [0, 1]]
    """

    def __init__(self, classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        self.classes = classes
        self.ignore_index = ignore_index
        self.matrix = torch.zeros(classes, classes, dtype=torch.int64)
        """int64 (K, K) on the CPU: row = true class, column = predicted class."""

    def update(self, pred: Labels, target: Labels) -> None:
        """Adds the pixels of one image or batch.

        Args:
            pred: class ids 0 … K-1 of any shape, on any device; read only where the target is valid.
            target: class ids of the same shape, in 0 … K-1 or ``ignore_index``.

        Raises:
            ValueError: if the shapes differ, or a valid pixel has an id outside 0 … K-1. Nothing is added then.
        """
        pred, target = _integers("pred", pred), _integers("target", target)
        if pred.shape != target.shape:
            raise ValueError(f"got pred {tuple(pred.shape)} and target {tuple(target.shape)}; expected equal shapes")
        counts = self._count(pred.to(target.device), target)
        strays = {"target": counts[[0, -1]].sum(), "pred": counts[:, [0, -1]].sum()}
        for name, labels in (("target", target), ("pred", pred)):
            if strays[name] > 0:
                valid = labels[target.to(labels.device) != self.ignore_index]
                raise ValueError(self._out_of_range(name, valid))
        self.matrix += counts[1:-1, 1:-1]

    def _count(self, pred: Tensor, target: Tensor) -> Tensor:
        """Counts with a border that catches the ids below 0 and above K-1: one pass, and one wait for the device."""
        side = self.classes + 2
        cell = _bordered(target, self.classes) * side + _bordered(pred, self.classes)
        cell.masked_fill_(target == self.ignore_index, side * side)
        counts = torch.bincount(cell.flatten(), minlength=side * side + 1)
        return counts[:-1].cpu().reshape(side, side)

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """The matrix of both sets of pixels, as merged from several processes. Raises ValueError if K differs."""
        if (self.classes, self.ignore_index) != (other.classes, other.ignore_index):
            raise ValueError(
                f"got matrices of {self.classes} and {other.classes} classes with ignore_index {self.ignore_index} and "
                f"{other.ignore_index}; expected the same"
            )
        total = ConfusionMatrix(self.classes, self.ignore_index)
        total.matrix = self.matrix + other.matrix
        return total

    def _out_of_range(self, name: str, valid: Tensor) -> str:
        strays = valid[(valid < 0) | (valid >= self.classes)]
        ids = strays.unique()[:5].tolist()
        return (
            f"{name} has {len(strays)} valid pixels outside 0 … {self.classes - 1} (ids {ids}); "
            f"expected ids of the {self.classes} classes, or {self.ignore_index} in the target to leave a pixel out"
        )


@dataclass(frozen=True)
class Scores:
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
    counts = matrix.to(torch.float64)
    hits, truth, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    present = truth > 0
    iou = (hits / (truth + predicted - hits)).where(present, torch.nan)
    recall = hits / truth
    return Scores(
        miou=float(iou[present].mean()),
        iou=iou.tolist(),
        pixel_accuracy=float(hits.sum() / truth.sum()),
        mean_accuracy=float(recall[present].mean()),
        absent=(~present).nonzero().flatten().tolist(),
    )


def _integers(name: str, labels: Labels) -> Tensor:
    tensor = torch.as_tensor(labels)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"got {name} of type {tensor.dtype}; expected integer class ids: logits.argmax(1) gives them")
    return tensor


def _bordered(labels: Tensor, classes: int) -> Tensor:
    """int32 ids shifted by one: 0 for all below 0, 1 … K for the classes, K + 1 for all above."""
    labels = labels.long() if labels.dtype.itemsize == 8 else labels.int()
    return labels.clamp(-1, classes).int() + 1
