"""The confusion matrix of a whole split, counted exactly in integers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from featalign.metrics.accumulator import Accumulator
from featalign.metrics.counts import class_counts
from featalign.metrics.labels import Labels, label_pair, out_of_range
from featalign.metrics.scores import Scores, scores
from featalign.spec import IGNORE_INDEX


class ConfusionMatrix(Accumulator):
    """Counts of (true class, predicted class) over all valid pixels, streamed image by image.

    >>> confusion = ConfusionMatrix(2)
    >>> confusion.update(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 255]))
    >>> confusion.matrix.tolist()
    [[1, 1], [0, 1]]
    """

    COUNTS = ("matrix",)

    def __init__(self, classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        self.classes = classes
        self.ignore_index = ignore_index
        self.matrix = torch.zeros(classes, classes, dtype=torch.int64)
        """int64 (K, K) on the CPU: row = true class, column = predicted class."""

    def update(self, pred: Labels, target: Labels) -> None:
        """Adds the pixels of one image or batch: arguments and errors of :func:`confusion_matrix`."""
        self.matrix += confusion_matrix(pred, target, self.classes, self.ignore_index)

    def scores(self) -> Scores:
        """mIoU and its like: :func:`featalign.metrics.scores`."""
        return scores(self.matrix)


def confusion_matrix(pred: Labels, target: Labels, classes: int, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """How often each true class was predicted as each class.

    Args:
        pred: class ids 0 … K-1 of any shape, on any device; read only where the target is valid.
        target: class ids of the same shape, in 0 … K-1 or ``ignore_index``.
        classes: K.
        ignore_index: the label that counts nowhere.

    Returns:
        int64 (K, K) on the CPU: row = true class, column = predicted class.

    Raises:
        ValueError: if the shapes differ, or a valid pixel has an id outside 0 … K-1.
    """
    pred, target = label_pair(pred, target, ignore_index)
    counts = _bordered_counts(pred, target, classes, ignore_index)
    strays = {"target": counts[[0, -1]].sum(), "pred": counts[:, [0, -1]].sum()}
    for name, labels in (("target", target), ("pred", pred)):
        if strays[name] > 0:
            raise ValueError(out_of_range(name, labels[target != ignore_index], classes, ignore_index))
    return counts[1:-1, 1:-1].contiguous()


def per_image_counts(pred: Labels, target: Labels, classes: int, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """int64 (3, K): tp, fp and fn of each class in one image. Arguments and errors of :func:`confusion_matrix`."""
    return class_counts(confusion_matrix(pred, target, classes, ignore_index))


def merge_classes(matrix: Tensor, categories: Sequence[int]) -> Tensor:
    """The confusion matrix of categories: a class predicted as another one of its category is right.

    ``scores(merge_classes(matrix, categories)).iou`` is Cityscapes' category IoU.

    Args:
        matrix: int64 (K, K).
        categories: for each of the K classes the number of its category, from 0.

    Raises:
        ValueError: if there are not K numbers from 0.
    """
    if len(categories) != len(matrix) or min(categories, default=0) < 0:
        raise ValueError(f"got categories {list(categories)} for {len(matrix)} classes; expected one number >= 0 each")
    index = torch.tensor(categories, device=matrix.device)
    count = int(index.max()) + 1
    rows = matrix.new_zeros(count, len(matrix)).index_add_(0, index, matrix)
    return rows.new_zeros(count, count).index_add_(1, index, rows)


def _bordered_counts(pred: Tensor, target: Tensor, classes: int, ignore_index: int) -> Tensor:
    """Counts with a border that catches the ids below 0 and above K-1: one pass, and one wait for the device."""
    side = classes + 2
    cell = _bordered(target, classes) * side + _bordered(pred, classes)
    cell.masked_fill_(target == ignore_index, side * side)
    counts = torch.bincount(cell.flatten(), minlength=side * side + 1)
    return counts[:-1].cpu().reshape(side, side)


def _bordered(labels: Tensor, classes: int) -> Tensor:
    """int32 ids shifted by one: 0 for all below 0, 1 … K for the classes, K + 1 for all above."""
    labels = labels.long() if labels.dtype.itemsize == 8 else labels.int()
    return labels.clamp(-1, classes).int() + 1
