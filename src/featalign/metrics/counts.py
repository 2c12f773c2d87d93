"""Counts (tp, fp, fn) of each class, small enough to be kept for every image, and the scores of their sums.

The scores take int64 counts (..., 3, K), one set or a stack of them, and give (...) or (..., K): thousands of resampled
sums cost one call (:mod:`featalign.metrics.bootstrap`). nan stands where there is nothing to divide by.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Values = NDArray[np.float64]
Score = Callable[[Values], Values]
"""From counts (..., 3, K) to one score each (...)."""


def class_counts(matrix: Tensor) -> Tensor:
    """(3, K): true positives, false positives and false negatives of each class of a confusion matrix (K, K)."""
    hits = matrix.diagonal()
    return torch.stack((hits, matrix.sum(0) - hits, matrix.sum(1) - hits))


def iou(counts: ArrayLike) -> Values:
    """tp / (tp + fp + fn) of each class (..., K); nan for a class that does not occur in the truth."""
    hits, false, missed = _rows(counts)
    return np.where(hits + missed > 0, ratio(hits, hits + false + missed), np.nan)


def mean_iou(counts: ArrayLike) -> Values:
    """Mean of :func:`iou` over the classes that occur in the truth."""
    return mean_of_defined(iou(counts))


def recall(counts: ArrayLike) -> Values:
    """tp / (tp + fn) of each class (..., K); nan for a class that does not occur in the truth."""
    hits, _, missed = _rows(counts)
    return ratio(hits, hits + missed)


def mean_accuracy(counts: ArrayLike) -> Values:
    """Mean of :func:`recall` over the classes that occur in the truth."""
    return mean_of_defined(recall(counts))


def pixel_accuracy(counts: ArrayLike) -> Values:
    """Share of the labelled pixels that are right."""
    hits, _, missed = _rows(counts)
    return ratio(hits.sum(-1), (hits + missed).sum(-1))


def class_iou(index: int) -> Score:
    """The score "IoU of class ``index``", as :func:`featalign.metrics.paired_bootstrap` takes one."""

    def score(counts: Values) -> Values:
        return iou(counts)[..., index]

    return score


def ratio(part: Values, whole: Values) -> Values:
    """part / whole; nan where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def mean_of_defined(values: Values) -> Values:
    """Mean over the last axis of the values that are not nan; nan if all are."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(-1), defined.sum(-1).astype(np.float64))


def _rows(counts: ArrayLike) -> tuple[Values, Values, Values]:
    """Exact up to 2**53 pixels."""
    array = np.asarray(counts, dtype=np.float64)
    if array.ndim < 2 or array.shape[-2] != 3:
        raise ValueError(f"got counts {array.shape}; expected (..., 3, K) with tp, fp, fn")
    return array[..., 0, :], array[..., 1, :], array[..., 2, :]
