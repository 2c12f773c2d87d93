"""Boundary IoU: the IoU of what lies just inside each class's contour, in the prediction and in the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from featalign.metrics.accumulator import ClassMetric
from featalign.metrics.boundary import boundary_band
from featalign.metrics.counts import Values, iou, mean_of_defined
from featalign.metrics.labels import VOID, Labels, image_pairs
from featalign.metrics.scores import Result
from featalign.spec import IGNORE_INDEX

DIAGONAL_SHARE = 0.02
"""The width that Cheng et al. use, as a share of the image's diagonal."""


@dataclass(frozen=True)
class BoundaryIoUScores(Result):
    """Boundary IoU of a split, each number in [0, 1], or nan."""

    miou: float
    """Mean over the classes that occur in the truth."""
    iou: list[float]
    absent: list[int]
    """Ids of the classes without a boundary pixel in the truth; they have no score."""


class BoundaryIoU(ClassMetric):
    """Boundary IoU of each class (Cheng et al., CVPR 2021, equation 2), its pixels summed over the whole split.

    See :func:`boundary_iou_counts` for what is counted.
    """

    SETTINGS = ("classes", "ignore_index", "width")

    def __init__(self, classes: int, *, width: int | None = None, ignore_index: int = IGNORE_INDEX) -> None:
        self.classes = classes
        self.width = width
        self.ignore_index = ignore_index
        self.counts = torch.zeros(3, classes, dtype=torch.int64)
        """int64 (3, K) on the CPU: tp, fp, fn among the boundary pixels."""

    def update(self, pred: Labels, target: Labels) -> None:
        """Adds one image or batch: arguments and errors of :func:`boundary_iou_counts`."""
        self.counts += boundary_iou_counts(pred, target, self.classes, width=self.width, ignore_index=self.ignore_index)

    def scores(self) -> BoundaryIoUScores:
        """Boundary IoU over everything added so far."""
        per_class = self.by_class(self.counts.numpy())
        return BoundaryIoUScores(
            miou=float(mean_of_defined(per_class)),
            iou=per_class.tolist(),
            absent=np.flatnonzero(np.isnan(per_class)).tolist(),
        )

    def by_class(self, counts: ArrayLike) -> Values:
        """Boundary IoU."""
        return iou(counts)


def boundary_iou_counts(
    pred: Labels, target: Labels, classes: int, *, width: int | None = None, ignore_index: int = IGNORE_INDEX
) -> Tensor:
    """How the boundary pixels of prediction and truth agree.

    The boundary of a class is the part of its mask within ``width`` pixels (Chebyshev: ``width`` erosions by a 3x3
    square, as in the paper's code) of a pixel of another class or of the outside of the image. Void pixels of the
    truth are void in the prediction too; they belong to no mask and end none.

    Args:
        pred: class ids 0 … K-1, (H, W) or (B, H, W); read only where the target is valid.
        target: class ids of the same shape, in 0 … K-1 or ``ignore_index``.
        classes: K.
        width: in pixels; None takes 2 % of the diagonal, rounded, at least 1, which the paper uses.
        ignore_index: the label that counts nowhere.

    Returns:
        int64 (3, K) on the CPU: boundary pixels in both, only in the prediction, only in the truth.

    Raises:
        ValueError: if shapes or ids are not such, or width is below 1.
    """
    pred, target = image_pairs(pred, target, classes, ignore_index)
    if width is None:
        width = max(1, round(DIAGONAL_SHARE * math.hypot(*target.shape[-2:])))
    found, true = (_inner_boundary(labels, width) for labels in (pred, target))
    hits, predicted, truth = (
        torch.bincount(labels[where], minlength=classes)
        for labels, where in ((target, found & true & (pred == target)), (pred, found), (target, true))
    )
    return torch.stack((hits, predicted - hits, truth - hits)).cpu()


def _inner_boundary(labels: Tensor, width: int) -> Tensor:
    """The pixels within ``width`` of another class or of the image's outside: those of every class at once."""
    band = boundary_band(labels, width, VOID)
    edge = torch.ones_like(band)
    edge[..., width:-width, width:-width] = False
    return band | (edge & (labels != VOID))
