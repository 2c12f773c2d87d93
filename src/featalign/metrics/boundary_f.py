"""Boundary F-score: how much of the predicted boundary lies near the true one, and the other way round."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from featalign.metrics.accumulator import ClassMetric
from featalign.metrics.boundary import boundary_band
from featalign.metrics.counts import Values, mean_of_defined, ratio
from featalign.metrics.labels import VOID, Labels, image_pairs
from featalign.metrics.scores import Result
from featalign.metrics.shares import ONE, shares
from featalign.metrics.windows import disk_union
from featalign.spec import IGNORE_INDEX

DIAGONAL_SHARE = 0.0075
"""The tolerance that Csurka et al. use, as a share of the image's diagonal."""
BITS = 31
"""Classes that one int32 map holds, a bit each."""

Rows = TypeVar("Rows", Tensor, Values)


@dataclass(frozen=True)
class BoundaryFScores(Result):
    """Boundary F-score of a split, each number in [0, 1]; nan for a class without a boundary in the truth."""

    mean: float
    """Mean of ``f`` over the classes with a boundary in the truth."""
    f: list[float]
    """Harmonic mean of precision and recall of each class, over the boundary pixels of all images together."""
    precision: list[float]
    """Share of the predicted boundary near the true one; nan where nothing is predicted."""
    recall: list[float]
    """Share of the true boundary near the predicted one."""
    mean_per_image: float
    f_per_image: list[float]
    """The F-score of each image, averaged over the images where prediction or truth has a boundary of the class."""


class BoundaryFScore(ClassMetric):
    """Boundary F-score of each class (Csurka et al., BMVC 2013, section 3; DAVIS, Perazzi et al., CVPR 2016).

    Both publications average the F-score of single images: that is ``f_per_image``. ``f`` divides only once, after
    the whole split is counted, as mIoU does. See :func:`boundary_f_counts` for what is counted.
    """

    SETTINGS = ("classes", "ignore_index", "tolerance")

    def __init__(self, classes: int, *, tolerance: float | None = None, ignore_index: int = IGNORE_INDEX) -> None:
        self.classes = classes
        self.tolerance = tolerance
        self.ignore_index = ignore_index
        self.counts = torch.zeros(6, classes, dtype=torch.int64)
        """int64 (6, K) on the CPU: rows as in :func:`boundary_f_counts`, the sum of the images' F-scores in units of
        2**-40, and the number of images with a boundary of the class in prediction or truth."""

    def update(self, pred: Labels, target: Labels) -> None:
        """Adds one image or batch: arguments and errors of :func:`boundary_f_counts`, and (B, H, W) too."""
        for image, truth in zip(*image_pairs(pred, target, self.classes, self.ignore_index), strict=True):
            counts = _counts(image, truth, self.classes, self.tolerance)
            part, whole = _harmonic(*counts)
            f, seen = shares(part, whole.clamp_min(1)), counts[1] + counts[3] > 0
            self.counts += torch.cat((counts, torch.stack((f, seen))))

    def scores(self) -> BoundaryFScores:
        """Boundary F-score over everything added so far."""
        near, predicted, found, true, f_sum, images = self.counts.numpy().astype(np.float64)
        absent = true == 0
        f = self.by_class(self.counts)
        per_image = np.where(absent, np.nan, ratio(f_sum / ONE, images))
        return BoundaryFScores(
            mean=float(mean_of_defined(f)),
            f=f.tolist(),
            precision=np.where(absent, np.nan, ratio(near, predicted)).tolist(),
            recall=ratio(found, true).tolist(),
            mean_per_image=float(mean_of_defined(per_image)),
            f_per_image=per_image.tolist(),
        )

    def by_class(self, counts: ArrayLike) -> Values:
        """``f``."""
        return boundary_f(counts)


def boundary_f(counts: ArrayLike) -> Values:
    """F-score of each class (..., K) from counts (..., 4, K), or those of :class:`BoundaryFScore`; nan for a class
    without a boundary in the truth."""
    near, predicted, found, true = np.moveaxis(np.asarray(counts, dtype=np.float64), -2, 0)[:4]
    part, whole = _harmonic(near, predicted, found, true)
    return np.where(true > 0, ratio(part, np.maximum(whole, 1)), np.nan)


def boundary_f_counts(
    pred: Labels, target: Labels, classes: int, *, tolerance: float | None = None, ignore_index: int = IGNORE_INDEX
) -> Tensor:
    """How many boundary pixels of one image have a boundary pixel of the same class nearby on the other side.

    The boundary of a class are its own pixels with a pixel of another class among their eight neighbours: the inner
    contour. The image's border is none. Void pixels of the truth are void in the prediction too and make no boundary.
    Near means a distance between pixel centres (Euclidean) of at most ``tolerance``; many may be near the same one.

    Args:
        pred: class ids 0 … K-1, (H, W); read only where the target is valid.
        target: class ids (H, W), in 0 … K-1 or ``ignore_index``.
        classes: K.
        tolerance: in pixels, at least 0; None takes 0.75 % of the diagonal (Csurka et al.).
        ignore_index: the label that counts nowhere.

    Returns:
        int64 (4, K) on the CPU: predicted boundary pixels near the truth, all predicted ones, true boundary pixels
        near the prediction, all true ones.

    Raises:
        ValueError: if shapes or ids are not such, or the tolerance is negative.
    """
    preds, targets = image_pairs(pred, target, classes, ignore_index)
    if len(targets) != 1:
        raise ValueError(f"got labels {tuple(targets.shape)}; expected one image (H, W): call it for each")
    return _counts(preds[0], targets[0], classes, tolerance)


def _counts(pred: Tensor, target: Tensor, classes: int, tolerance: float | None) -> Tensor:
    if tolerance is None:
        tolerance = DIAGONAL_SHARE * math.hypot(*target.shape)
    if tolerance < 0:
        raise ValueError(f"got tolerance {tolerance}; expected at least 0 pixels")
    found, true = (labels.where(boundary_band(labels, 1, VOID), -1) for labels in (pred, target))
    predicted, truth = _histogram(found, classes), _histogram(true, classes)
    near_truth, near_found = torch.zeros_like(predicted), torch.zeros_like(truth)
    for ids in _groups(((predicted > 0) & (truth > 0)).nonzero().flatten(), BITS):
        near_truth[ids] = _matched(found, true, ids, tolerance)
        near_found[ids] = _matched(true, found, ids, tolerance)
    return torch.stack((near_truth, predicted, near_found, truth)).cpu()


def _matched(boundary: Tensor, other: Tensor, ids: Tensor, tolerance: float) -> Tensor:
    """For each of at most 31 classes: how many of its pixels in ``boundary`` have one in ``other`` within tolerance."""
    reached = disk_union(_bits(other, ids), tolerance) & _bits(boundary, ids)
    reached = reached[reached != 0]
    return torch.stack([(reached == 1 << bit).sum() for bit in range(len(ids))])


def _bits(boundary: Tensor, ids: Tensor) -> Tensor:
    """int32 maps: bit k where the label is ``ids[k]``, 0 elsewhere."""
    bits = torch.zeros_like(boundary)
    for bit, label in enumerate(ids.tolist()):
        bits.masked_fill_(boundary == label, 1 << bit)
    return bits


def _groups(ids: Tensor, size: int) -> Iterator[Tensor]:
    return (ids[start : start + size] for start in range(0, len(ids), size))


def _histogram(labels: Tensor, classes: int) -> Tensor:
    return torch.bincount(labels[labels >= 0], minlength=classes)


def _harmonic(near: Rows, predicted: Rows, found: Rows, true: Rows) -> tuple[Rows, Rows]:
    """2PR / (P + R) as part and whole, where P = near / predicted and R = found / true; both are 0 if nothing is near.

    If one predicted pixel is near a true one, that one is near it: ``near`` and ``found`` are 0 together.
    """
    return 2 * near * found, near * true + found * predicted
