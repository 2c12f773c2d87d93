"""Batches in which images with rare classes come more often.

Belongs where the training loader is built: ``data.oversample`` above 0 takes :class:`RareClassBatches` in place of
:class:`~featalign.data.EndlessBatches`, with the counts of :func:`~featalign.training.class_counts.label_counts`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from featalign.data import Draw, EndlessBatches
from featalign.errors import DataError

TEMPERATURE = 0.01


class RareClassBatches(EndlessBatches):
    """A ``share`` of the draws is a rare class first, then an image that holds it; the others go epoch by epoch.

    The class is drawn with chances ``exp((1 - f) / 0.01)`` where f is its share of all labelled pixels, then one of the
    images with any pixel of it, all alike (rare class sampling of DAFormer, CVPR 2022, equations 5 and 6). A draw
    depends on (seed, position) alone, as every draw does.

    Args:
        counts: pixels of each class in each image, (images, classes).
        share: of the draws, 0 to 1.
        options: those of :class:`~featalign.data.EndlessBatches`.

    Raises:
        DataError: if no image has a labelled pixel.
    """

    def __init__(self, counts: Tensor, *, share: float, **options: Any) -> None:
        super().__init__(len(counts), **options)
        found = counts.numpy()
        self.share = share
        self.chances = class_chances(found.sum(0))
        self._holders = [np.flatnonzero(column) for column in found.T]

    def _draw(self, position: int) -> Draw:
        draw = super()._draw(position)
        chance = np.random.default_rng([self.seed, position, 2])  # the order of an epoch ends in 1
        if chance.random() >= self.share:
            return draw
        holders = self._holders[chance.choice(len(self.chances), p=self.chances)]
        return Draw(int(chance.choice(holders)), draw.seed)


def class_chances(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The chance of each class (K,); of one that never occurs it is 0. Raises DataError if none does."""
    if not pixels.any():
        raise DataError("data.oversample: no pixel of the training split is labelled")
    frequencies = pixels / pixels.sum()
    weights = np.exp((frequencies.min() - frequencies) / TEMPERATURE) * (pixels > 0)
    chances: NDArray[np.float64] = weights / weights.sum()
    return chances
