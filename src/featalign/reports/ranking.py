"""Which images went well, and which classes are taken for which: from counts alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from featalign.inference import Evaluation
from featalign.metrics import mean_iou, pixel_accuracy


@dataclass(frozen=True)
class Ranked:
    """Images by their own score, the worst first; those without a labelled pixel are in no list.

    Attributes:
        names: sorted by mIoU over the classes in the image, then by name.
        miou, accuracy: by name, in [0, 1].
    """

    names: tuple[str, ...]
    miou: dict[str, float]
    accuracy: dict[str, float]

    @classmethod
    def of(cls, found: Evaluation) -> Ranked:
        """From what an evaluation kept of each image."""
        scored = mean_iou(found.per_image).tolist(), pixel_accuracy(found.per_image).tolist()
        miou, accuracy = (dict(zip(found.names, values, strict=True)) for values in scored)
        names = sorted((name for name in found.names if not np.isnan(miou[name])), key=lambda name: (miou[name], name))
        return cls(tuple(names), miou, accuracy)

    def ends(self, count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The ``count`` worst and the ``count`` best images, the most extreme first; none in both."""
        worst = self.names[:count]
        return worst, tuple(name for name in self.names[::-1][:count] if name not in worst)

    def to_json(self) -> dict[str, dict[str, float]]:
        """By image, worst first."""
        return {name: {"miou": self.miou[name], "pixel_accuracy": self.accuracy[name]} for name in self.names}


@dataclass(frozen=True)
class Confusion:
    """Pixels of the class ``truth`` that were labelled as another, and their share of the class."""

    truth: int
    labelled: int
    pixels: int
    share: float


def confusions(matrix: Tensor, count: int = 12) -> list[Confusion]:
    """The ``count`` largest confusions of a matrix (K, K), rows = truth, those of most pixels first."""
    wrong = matrix.clone().fill_diagonal_(0)
    pixels, places = wrong.flatten().sort(descending=True, stable=True)
    total, classes = matrix.sum(1).tolist(), matrix.shape[0]
    return [
        Confusion(place // classes, place % classes, value, value / total[place // classes])
        for value, place in zip(pixels[:count].tolist(), places[:count].tolist(), strict=True)
        if value
    ]
