"""Panoptic quality: how many segments are found, and how well drawn (Kirillov et al., CVPR 2019, section 4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featalign.metrics.accumulator import Accumulator
from featalign.metrics.counts import Values, mean_of_defined, ratio
from featalign.metrics.labels import Labels, label_pair
from featalign.metrics.scores import Result
from featalign.metrics.shares import ONE, shares

SegmentClasses = Mapping[int, int]
"""The class of each segment of a map, by the number that its pixels hold."""


@dataclass(frozen=True)
class Quality(Result):
    """PQ = SQ x RQ per class, and their means over classes; each in [0, 1]; nan where there is nothing to count."""

    pq: float
    """Sum of the IoU of the matches / (TP + FP / 2 + FN / 2)."""
    sq: float
    """Mean IoU of the matches; 0 for a class without a match."""
    rq: float
    """TP / (TP + FP / 2 + FN / 2)."""


@dataclass(frozen=True)
class PanopticScores:
    """Means over all classes, over things and over stuff, of the classes with a segment in truth or prediction."""

    all: Quality
    things: Quality
    stuff: Quality
    classes: list[Quality]
    """Of each class (K)."""

    def to_json(self) -> dict[str, object]:
        """Plain values, None for nan."""
        parts = {name: getattr(self, name).to_json() for name in ("all", "things", "stuff")}
        return {**parts, "classes": [quality.to_json() for quality in self.classes]}


class PanopticQuality(Accumulator):
    """PQ, SQ and RQ, with the rules of COCO's evaluation (cocodataset/panopticapi).

    A predicted and a true segment of one class match if their IoU is above 0.5; void pixels of the truth are left out
    of the union. Unmatched predictions that lie by more than half on void and on crowds of their class count nowhere;
    crowds are neither matched nor missed.

    What is summed are integers: the IoU of each match in units of 2**-40. So the sums do not depend on order or on
    processes.
    """

    COUNTS = ("matched", "spurious", "missed", "overlap")
    SETTINGS = ("classes", "things")

    def __init__(self, classes: int, things: Sequence[int]) -> None:
        """
        Args:
            classes: K.
            things: ids of the classes whose objects are told apart; the others are stuff.

        Raises:
            ValueError: if an id is not in 0 … K-1.
        """
        strays = [label for label in things if not 0 <= label < classes]
        if strays:
            raise ValueError(f"got things {strays}; expected ids in 0 … {classes - 1}")
        self.classes = classes
        self.things = tuple(sorted(set(things)))
        self.matched, self.spurious, self.missed, self.overlap = torch.zeros(4, classes, dtype=torch.int64)

    def update(
        self,
        pred: Labels,
        pred_classes: SegmentClasses,
        target: Labels,
        target_classes: SegmentClasses,
        *,
        crowds: Collection[int] = (),
    ) -> None:
        """Adds one image.

        Args:
            pred, target: the number of the segment at each pixel (H, W); 0 is void.
            pred_classes, target_classes: the class id of each segment in them.
            crowds: numbers of the true segments that are groups of objects.

        Raises:
            ValueError: if a segment has no class or no pixel, a class is not in 0 … K-1, or a crowd is none of the
                target's segments. Nothing is added then.
        """
        strays = sorted({int(number) for number in crowds} - set(target_classes))
        if strays:
            raise ValueError(f"crowds: got {strays[:5]}, which are no segments of the target")
        pred, target = label_pair(pred, target)
        found, found_class = self._segments("pred", pred, pred_classes)
        true, true_class = self._segments("target", target, target_classes)
        crowd = torch.tensor([number in crowds for number in sorted(target_classes)], dtype=torch.bool)
        rows, columns = len(true_class) + 1, len(found_class) + 1
        table = torch.bincount(true * columns + found, minlength=rows * columns).view(rows, columns)
        self._add(table, true_class, found_class, crowd)

    def _segments(self, name: str, ids: Tensor, classes: SegmentClasses) -> tuple[Tensor, Tensor]:
        """Of each pixel the place of its segment among the sorted numbers, from 1, 0 for void; and their classes."""
        numbers = torch.tensor([0, *sorted(classes)])
        present, place = ids.cpu().flatten().long().unique(return_inverse=True)
        differ = sorted((set(present.tolist()) - {0}) ^ set(classes))
        if differ or 0 in classes:
            raise ValueError(
                f"{name}: segments {differ[:5] or [0]} have a class or pixels but not both; expected a class for every "
                "number in the map but 0, and no other"
            )
        owners = torch.tensor([classes[number] for number in sorted(classes)], dtype=torch.int64)
        if owners.numel() and (owners.min() < 0 or owners.max() >= self.classes):
            raise ValueError(f"{name}: got classes {owners.unique().tolist()}; expected ids in 0 … {self.classes - 1}")
        return torch.searchsorted(numbers, present)[place], owners

    def _add(self, table: Tensor, true_class: Tensor, found_class: Tensor, crowd: Tensor) -> None:
        """``table``: pixels of each true segment (row) and predicted one (column), void first."""
        both, void = table[1:, 1:], table[0, 1:]
        same = true_class[:, None] == found_class
        found_area, true_area = table[:, 1:].sum(0), table[1:].sum(1)
        union = true_area[:, None] + found_area - both - void
        match = same & ~crowd[:, None] & (2 * both > union)
        ignored = void + both.where(same & crowd[:, None], 0).sum(0)
        spurious = ~match.any(0) & (2 * ignored <= found_area)
        missed = ~match.any(1) & ~crowd
        row, _ = match.nonzero(as_tuple=True)
        for total, owner, amount in (
            (self.matched, true_class[row], torch.ones_like(row)),
            (self.overlap, true_class[row], shares(both[match], union[match])),
            (self.spurious, found_class[spurious], torch.ones_like(found_class[spurious])),
            (self.missed, true_class[missed], torch.ones_like(true_class[missed])),
        ):
            total.index_add_(0, owner, amount)

    def scores(self) -> PanopticScores:
        """The qualities over everything added so far."""
        matched, spurious, missed, overlap = (getattr(self, name).numpy().astype(np.float64) for name in self.COUNTS)
        overlap /= ONE
        counted = matched + (spurious + missed) / 2
        pq, rq = ratio(overlap, counted), ratio(matched, counted)
        sq = np.where(counted > 0, overlap / np.maximum(matched, 1), np.nan)
        thing = np.isin(np.arange(self.classes), self.things)
        return PanopticScores(
            all=_mean(pq, sq, rq, np.ones_like(thing)),
            things=_mean(pq, sq, rq, thing),
            stuff=_mean(pq, sq, rq, ~thing),
            classes=[Quality(*map(float, values)) for values in zip(pq, sq, rq, strict=True)],
        )


def _mean(pq: Values, sq: Values, rq: Values, chosen: NDArray[np.bool_]) -> Quality:
    return Quality(*(float(mean_of_defined(values[chosen])) for values in (pq, sq, rq)))
