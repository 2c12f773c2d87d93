"""Metrics that keep what they counted in each image, so that two runs can be compared on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from featalign.inference.packing import Counts, packed, unpacked
from featalign.metrics import BoundaryFScore, BoundaryIoU, ClassMetric, InstanceIoU
from featalign.metrics.labels import Labels

METRICS: dict[str, type[BoundaryIoU] | type[BoundaryFScore]] = {
    "boundary_iou": BoundaryIoU,
    "boundary_f": BoundaryFScore,
}
"""The metrics that an evaluation counts only if asked, with the settings of their papers."""
METRIC_TITLES = {"boundary_iou": "Boundary IoU", "boundary_f": "boundary F"}
"""Their means."""
Metric = TypeVar("Metric", bound=ClassMetric)
INSTANCE_SETTINGS = ("instance_classes", "mean_sizes", "categories")


@dataclass(frozen=True)
class Counted(Generic[Metric]):
    """``metric``: over all images. ``per_image``: its counts in each of them, int64 (N, R, K)."""

    metric: Metric
    per_image: Counts

    @property
    def by_class(self) -> list[float]:
        """The score of each class, in [0, 1] or nan."""
        return list(self.metric.by_class(self.metric.counts).tolist())

    @property
    def mean(self) -> float:
        """Over the classes that have one."""
        return float(self.metric.mean(self.metric.counts))

    def joined(self, other: Counted[Metric], order: Sequence[int]) -> Counted[Metric]:
        """The images of both in this order. Raises ValueError if the two count different things."""
        return Counted(self.metric + other.metric, np.concatenate((self.per_image, other.per_image))[order])

    @classmethod
    def read(cls, metric: Metric, content: Mapping[str, Any]) -> Counted[Metric]:
        """From what :func:`packed` gave of ``per_image``; the metric gets their sum. Raises as :func:`unpacked`."""
        per_image = unpacked(content)
        metric.load_state({"counts": torch.from_numpy(per_image.sum(0))})
        return cls(metric, per_image)


class Counter(Generic[Metric]):
    """A metric that is being counted."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._rows: list[Tensor] = []

    def update(self, *labels: Labels) -> None:
        """Adds one image: arguments and errors of the metric's ``update``."""
        before = self._metric.counts.clone()
        self._metric.update(*labels)
        self._rows.append(self._metric.counts - before)

    def counted(self, order: Sequence[int]) -> Counted[Metric]:
        """The images in this order."""
        return Counted(self._metric, stacked(self._rows, order, tuple(self._metric.counts.shape)))


def stacked(rows: Sequence[Tensor], order: Sequence[int], shape: tuple[int, ...]) -> Counts:
    """int64 (N, *shape), the rows in this order; there may be none."""
    together = np.zeros((len(rows), *shape), dtype=np.int64)
    for place, i in enumerate(order):
        together[place] = rows[i].numpy()
    return together


def pack_instances(found: Counted[InstanceIoU]) -> dict[str, Any]:
    """The metric's settings and the counts."""
    settings = {name: getattr(found.metric, name) for name in INSTANCE_SETTINGS}
    return {**settings, "counts": packed(found.per_image)}


def read_instances(content: Mapping[str, Any], classes: int, ignore_index: int) -> Counted[InstanceIoU]:
    """What :func:`pack_instances` was given. Raises as :func:`unpacked`."""
    settings = {name: content[name] for name in INSTANCE_SETTINGS}
    return Counted.read(InstanceIoU(classes, ignore_index=ignore_index, **settings), content["counts"])
