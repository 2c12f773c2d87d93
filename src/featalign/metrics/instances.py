"""Cityscapes' instance-weighted IoU (iIoU): every instance weighs the same, however large it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from featalign.metrics.accumulator import ClassMetric
from featalign.metrics.confusion import confusion_matrix
from featalign.metrics.counts import Values, mean_of_defined, ratio
from featalign.metrics.labels import VOID, Labels, as_labels, image_pairs
from featalign.metrics.scores import Result
from featalign.metrics.shares import ONE, shares
from featalign.spec import IGNORE_INDEX

CITYSCAPES_INSTANCE_SIZES = {
    "person": 3462.4756337644,
    "rider": 3930.4788056518,
    "car": 12794.0202738185,
    "truck": 27855.1264367816,
    "bus": 35732.1511111111,
    "train": 67583.7075812274,
    "motorcycle": 6298.7200839748,
    "bicycle": 4672.3249222261,
}
"""Mean size in pixels of the training split's instances, as the benchmark's evaluation has it: its iIoU uses these."""


@dataclass(frozen=True)
class InstanceScores(Result):
    """iIoU of a split, each number in [0, 1]; nan where no instance was scored."""

    miou: float
    """Mean over the classes with an instance in the truth."""
    iou: list[float]
    """iIoU of each class (K,)."""
    category_miou: float
    category_iou: list[float]
    """iIoU of each category, for those all of whose classes have instances."""


class InstanceIoU(ClassMetric):
    """iTP / (iTP + FP + iFN) of each class (Cordts et al., CVPR 2016, section 4.2).

    A pixel of an instance counts ``mean size of the class's instances / size of its instance`` in iTP and iFN; false
    positives count 1, for no instance belongs to them. Pixels of a class with instances that belong to none (a crowd)
    count neither in iTP nor in iFN.

    What is summed are integers: for each instance the share of its pixels that is right, in units of 2**-40. The mean
    sizes are multiplied in at the end. So the sums do not depend on order or on processes.
    """

    SETTINGS = ("classes", "ignore_index", "instance_classes", "mean_sizes", "categories")

    def __init__(
        self,
        classes: int,
        instance_classes: Sequence[int],
        *,
        mean_sizes: Sequence[float] | None = None,
        categories: Sequence[int] | None = None,
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        """
        Args:
            classes: K.
            instance_classes: ids of the classes whose instances are told apart.
            mean_sizes: mean size in pixels of the instances of each of them, in their order, say
                :data:`CITYSCAPES_INSTANCE_SIZES`; None takes the mean of the instances scored.
            categories: number of each class's category, from 0 (K,); None puts every class in one of its own.
            ignore_index: the label that counts nowhere.

        Raises:
            ValueError: if the lengths or ids do not belong together.
        """
        self.classes = classes
        self.ignore_index = ignore_index
        self.instance_classes = tuple(instance_classes)
        self.mean_sizes = None if mean_sizes is None else tuple(mean_sizes)
        self.categories = tuple(range(classes) if categories is None else categories)
        self._check()
        self.counts = torch.zeros(6, classes, dtype=torch.int64)
        """int64 (6, K) on the CPU, by true class: instances, their pixels, sums over instances of the share of their
        pixels that have the right class and the right category; by predicted class: pixels of another class, and of
        another category."""

    def update(self, pred: Labels, target: Labels, instances: Labels) -> None:
        """Adds one image or batch.

        Args:
            pred: class ids 0 … K-1, (H, W) or (B, H, W); read only where the target is valid.
            target: class ids of the same shape, in 0 … K-1 or ``ignore_index``.
            instances: of the same shape: pixels of one class with the same number above 0 are one instance of their
                image; 0 belongs to none. Cityscapes' instanceIds: ``where(ids >= 1000, ids, 0)``.

        Raises:
            ValueError: if shapes or ids are not such. Nothing is added then.
        """
        preds, targets = image_pairs(pred, target, self.classes, self.ignore_index)
        numbers = as_labels("instances", instances).to(targets.device).long()
        if tuple(numbers.shape) != tuple(torch.as_tensor(target).shape) or (numbers.numel() and numbers.min() < 0):
            raise ValueError(
                f"got instances {tuple(numbers.shape)} from {numbers.min() if numbers.numel() else 'none'}; expected "
                f"one number >= 0 for each pixel of target {tuple(torch.as_tensor(target).shape)}"
            )
        matrix = confusion_matrix(preds, targets, self.classes, VOID)
        category = torch.tensor(self.categories)
        self.counts[4] += matrix.sum(0) - matrix.diagonal()
        self.counts[5] += (matrix * (category[:, None] != category)).sum(0)
        for image, truth, ids in zip(preds, targets, numbers.reshape(targets.shape), strict=True):
            self._add_instances(image, truth, ids)

    def _add_instances(self, pred: Tensor, target: Tensor, numbers: Tensor) -> None:
        counted = (target != VOID) & (numbers > 0)
        counted &= torch.isin(target, torch.tensor(self.instance_classes, device=target.device, dtype=target.dtype))
        pred, target, numbers = pred[counted].long(), target[counted].long(), numbers[counted]
        span = int(numbers.max()) + 1 if len(numbers) else 1
        pairs, instance = (target * span + numbers).unique(return_inverse=True)
        owner, category = (pairs // span).cpu(), torch.tensor(self.categories, device=target.device)
        size, hits, category_hits = (
            torch.bincount(instance[right], minlength=len(owner)).cpu()
            for right in (target == target, pred == target, category[pred] == category[target])
        )
        added = (torch.ones_like(size), size, shares(hits, size), shares(category_hits, size))
        self.counts[:4].index_add_(1, owner, torch.stack(added))

    def scores(self) -> InstanceScores:
        """iIoU over everything added so far."""
        counts = self.counts.numpy()
        return InstanceScores(
            miou=float(self.mean(counts)),
            iou=self.by_class(counts).tolist(),
            category_miou=float(self.category_mean(counts)),
            category_iou=self.by_category(counts).tolist(),
        )

    def by_class(self, counts: ArrayLike) -> Values:
        """iIoU of each class."""
        instances, pixels, hits, _, false, _ = _rows(counts)
        size = self._mean_sizes(instances, pixels)
        return _iou(size * hits / ONE, size * instances, false)

    def by_category(self, counts: ArrayLike) -> Values:
        """iIoU of each category (..., C) from counts (..., 6, K); nan unless all its classes have instances."""
        instances, pixels, _, hits, _, false = _rows(counts)
        size = self._mean_sizes(instances, pixels)
        members = np.equal.outer(self.categories, range(max(self.categories) + 1))
        whole = ~members[self._without_instances()].any(0)
        return _iou(size * hits / ONE @ members, size * instances @ members * whole, false @ members)

    def category_mean(self, counts: ArrayLike) -> Values:
        """Mean over the categories that have a score (...)."""
        return mean_of_defined(self.by_category(counts))

    def _mean_sizes(self, instances: Values, pixels: Values) -> Values:
        """(..., K): 0 for classes without instances."""
        if self.mean_sizes is None:
            return pixels / np.maximum(instances, 1)
        sizes = np.zeros(self.classes)
        sizes[list(self.instance_classes)] = self.mean_sizes
        return sizes

    def _without_instances(self) -> list[int]:
        return sorted(set(range(self.classes)) - set(self.instance_classes))

    def _check(self) -> None:
        strays = [label for label in self.instance_classes if not 0 <= label < self.classes]
        if strays or len(set(self.instance_classes)) != len(self.instance_classes):
            raise ValueError(
                f"got instance_classes {self.instance_classes}; expected ids in 0 … {self.classes - 1}, once"
            )
        if self.mean_sizes is not None and len(self.mean_sizes) != len(self.instance_classes):
            raise ValueError(
                f"got {len(self.mean_sizes)} mean_sizes; expected {len(self.instance_classes)}, one per instance class"
            )
        if len(self.categories) != self.classes or min(self.categories, default=0) < 0:
            raise ValueError(
                f"got categories {self.categories}; expected a number >= 0 for each of {self.classes} classes"
            )


def _iou(hits: Values, truth: Values, false: Values) -> Values:
    """iTP / (iTP + FP + iFN), where iTP + iFN = ``truth``; nan without truth."""
    return np.where(truth > 0, ratio(hits, truth + false), np.nan)


def _rows(counts: ArrayLike) -> Values:
    """(6, ..., K)."""
    return np.moveaxis(np.asarray(counts, dtype=np.float64), -2, 0)
