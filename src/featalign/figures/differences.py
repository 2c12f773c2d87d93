"""Where which prediction is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featalign.figures.palette import VOID_COLOR, Labels, Pixels
from featalign.spec import Color

RED: Color = (226, 48, 42)
BLUE: Color = (24, 104, 224)
PURPLE: Color = (84, 22, 96)
YELLOW: Color = (250, 190, 60)

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Differences:
    """Errors of one or more predictions at the valid pixels of the truth."""

    names: tuple[str, ...]
    wrong: NDArray[np.bool_]
    """(predictions, H, W)."""
    void: NDArray[np.bool_]
    """(H, W): ignored pixels of the truth, at which nothing is wrong."""

    @classmethod
    def between(cls, truth: Labels, predictions: Mapping[str, Labels], ignore_index: int) -> Differences:
        """Of predictions (H, W) against a truth (H, W)."""
        void = truth == ignore_index
        wrong = np.stack([(labels != truth) & ~void for labels in predictions.values()])
        return cls(tuple(predictions), wrong, void)

    @property
    def key(self) -> list[tuple[Color, str]]:
        """Colours and what they mean: which of two predictions is wrong, how many of more."""
        if len(self.names) == 1:
            return [(RED, "wrong")]
        if len(self.names) == 2:
            first, second = self.names
            return [(RED, f"only {first} wrong"), (BLUE, f"only {second} wrong"), (PURPLE, "both wrong")]
        count = len(self.names)
        ramp = np.linspace(YELLOW, PURPLE, count).round().astype(int).tolist()
        return [((r, g, b), f"{i + 1} of {count} wrong") for i, (r, g, b) in enumerate(ramp)]

    def paint(self, image: Pixels) -> Pixels:
        """The image in pale gray, its wrong pixels in the colours of the key: uint8 (H, W, 3)."""
        gray = image @ np.array([0.299, 0.587, 0.114])
        canvas = np.repeat((255 - 0.45 * (255 - gray))[..., None], 3, axis=2).round().astype(np.uint8)
        canvas[self.void] = VOID_COLOR
        marked = self.wrong.any(0)
        colors = np.array([color for color, _ in self.key], dtype=np.uint8)
        canvas[marked] = colors[self._kind()[marked] - 1]
        return canvas

    def busiest_box(self) -> Box | None:
        """(left, top, right, bottom) of the quarter by side with the most pixels on which the predictions differ.

        They differ where some are wrong and some right; of a single prediction, or where all predictions are equally
        right and wrong, errors count. None if nothing is wrong.
        """
        telling = self.wrong.any(0) & ~self.wrong.all(0)
        interest = np.asarray(telling if telling.any() else self.wrong.any(0))
        if not interest.any():
            return None
        height, width = interest.shape
        return busiest_window(interest, max(1, height // 4), max(1, width // 4))

    def _kind(self) -> NDArray[np.int64]:
        """Position in the key, from 1, of each wrong pixel; 0 elsewhere."""
        weights = np.array([1, 2]) if len(self.names) == 2 else np.ones(len(self.names), dtype=np.int64)
        return np.tensordot(weights, self.wrong.astype(np.int64), axes=1)


def busiest_window(marked: NDArray[np.bool_], rows: int, columns: int) -> Box:
    """(left, top, right, bottom) of the window of this size that holds most marked pixels of (H, W)."""
    sums = np.pad(marked.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    counts = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
    top, left = (int(i) for i in np.unravel_index(counts.argmax(), counts.shape))
    return left, top, left + columns, top + rows
