"""How the answer to an image of any size is cut into blocks, and through which windows the network sees the image.

┌───────────────┐
│ margin        │   Each block of the answer is given by one window, which shows the image for at least
│   ┌───────┐   │   ``margin`` pixels around it, but at the image's own border. Windows begin at multiples
│   │ block │   │   of the network's largest stride: a network that looks no further than the margin gives
│   └───────┘   │   the same answer in a window as in the whole image.
└───────────────┘
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from featalign.errors import ConfigError
from featalign.inference.network import Size
from featalign.inference.resampling import resize_taps
from featalign.inference.views import Edges, Span, View

STRIDE = 32
"""Windows begin at multiples of it: the largest stride of the usual networks."""


class Block(NamedTuple):
    """A part of the answer: the ``row``-th from the top, the ``column``-th from the left; its pixels."""

    row: int
    column: int
    rows: range
    columns: range

    @property
    def size(self) -> Size:
        """(height, width)."""
        return len(self.rows), len(self.columns)


@dataclass(frozen=True)
class Blocks:
    """The blocks of an answer.

    Args:
        image: (height, width) of the image.
        seen: to which it is resized before the network sees it.
        region: rows and columns of the image, in [0, 1], that the answer is for.
        output: size of the answer.
        window: (height, width) that the network sees at most at a time, at scale 1; at least
            ``2 * margin + 32``, and more for an answer coarser than the image.
        margin: in pixels that the network sees.
        scales: at which the image is seen.

    Raises:
        ConfigError: if the windows are too small for the margin.
    """

    image: Size
    seen: Size
    region: tuple[Edges, Edges]
    output: Size
    window: Size
    margin: int
    scales: Sequence[float] = (1.0,)

    def __iter__(self) -> Iterator[Block]:
        """From left to right, then downwards."""
        return self.meeting(range(self.output[0]))

    def meeting(self, wanted: range) -> Iterator[Block]:
        """The blocks with any of these rows."""
        rows, columns = self.cuts
        for i, (top, bottom) in enumerate(pairwise(rows)):
            if top < wanted.stop and bottom > wanted.start:
                for j, (left, right) in enumerate(pairwise(columns)):
                    yield Block(i, j, range(top, bottom), range(left, right))

    def __len__(self) -> int:
        return (len(self.cuts[0]) - 1) * (len(self.cuts[1]) - 1)

    @cached_property
    def cuts(self) -> tuple[list[int], list[int]]:
        """Where the answer's rows and columns are cut, both ends included."""
        rows, columns = (self._axis(axis, self.seen[axis]).cuts(self.window[axis]) for axis in (0, 1))
        return rows, columns

    def views(self, block: Block) -> list[View]:
        """What the network sees for a block: one view per scale."""
        region = self.place(block)
        found = []
        for scale, spans in zip(self.scales, self._spans, strict=True):
            rows, columns = spans[0][block.row], spans[1][block.column]
            found.append(View(self._scaled(scale), block.size, region, (rows,), (columns,)))
        return found

    def place(self, block: Block) -> tuple[Edges, Edges]:
        """Rows and columns of the image, in [0, 1], that a block is for."""
        rows, columns = (
            (self._axis(axis, 1).pixel(cells.start), self._axis(axis, 1).pixel(cells.stop))
            for axis, cells in enumerate((block.rows, block.columns))
        )
        return rows, columns

    def pixels(self, views: Sequence[View]) -> tuple[range, range]:
        """Rows and columns of the image that these views are made of."""
        regions = [
            [resize_taps(self.image[axis], view.size[axis], _shown(view, axis)).region for view in views]
            for axis in (0, 1)
        ]
        rows, columns = (range(min(a for a, _ in axis), max(b for _, b in axis)) for axis in regions)
        return rows, columns

    @cached_property
    def _spans(self) -> list[tuple[list[Span], list[Span]]]:
        """Per scale: the windows of all rows of blocks, and of all columns."""
        found = []
        for scale in self.scales:
            size = self._scaled(scale)
            rows, columns = (self._axis(axis, size[axis]).spans(self.cuts[axis]) for axis in (0, 1))
            found.append((rows, columns))
        return found

    def _axis(self, axis: int, length: int) -> _Axis:
        return _Axis(length, self.output[axis], *self.region[axis], self.margin)

    def _scaled(self, scale: float) -> Size:
        return max(1, round(self.seen[0] * scale)), max(1, round(self.seen[1] * scale))


class _Axis(NamedTuple):
    """One axis: ``cells`` of the answer over the part [start, stop] in [0, 1] of ``length`` pixels."""

    length: int
    cells: int
    start: Fraction
    stop: Fraction
    margin: int

    def cuts(self, window: int) -> list[int]:
        """Cells at which to cut, so that each part with its margin fits into a window."""
        low = max(0, _down(math.floor(self.pixel(0)) - self.margin))
        high = min(self.length, _up(math.ceil(self.pixel(self.cells)) + self.margin))
        if high - low <= window:
            return [0, self.cells]
        step = self._step(window)
        count = math.ceil((high - low - 2 * self.margin) / step)
        starts = (low + _up((high - low - 2 * self.margin) * i // count) for i in range(1, count))
        inner = {round(self._cell(start + self.margin)) for start in starts}
        return [0, *sorted(cut for cut in inner if 0 < cut < self.cells), self.cells]

    def spans(self, cuts: Sequence[int]) -> list[Span]:
        """The windows of all parts, of one size, the largest that any needs; those that end with the image are less."""
        needed = [self._needed(first, end) for first, end in pairwise(cuts)]
        size = _up(max(stop - start for start, stop in needed))
        return [
            Span(start, min(start + size, self.length), 0, end - first)
            for (start, _), (first, end) in zip(needed, pairwise(cuts), strict=True)
        ]

    def _needed(self, first: int, end: int) -> tuple[int, int]:
        """Pixels that a window of cells [first, end) must show."""
        start = max(0, _down(math.floor(self.pixel(first)) - self.margin))
        return start, min(self.length, math.ceil(self.pixel(end)) + self.margin)

    def _step(self, window: int) -> int:
        """From one cut to the next, at most. Cuts that are no borders of cells are moved to one."""
        pitch = (self.stop - self.start) * self.length / self.cells
        places = (Fraction(STRIDE), Fraction(self.margin), self.start * self.length)
        nested = all((place / pitch).denominator == 1 for place in places)
        least = 2 * self.margin + (0 if nested else math.ceil(pitch) + STRIDE)
        step = _down(window - least)
        if step < STRIDE:
            raise ConfigError(
                f"a window side of {window} is too small for a margin of {self.margin}: take windows of at least "
                f"{_up(least) + STRIDE}, or a smaller margin"
            )
        return step

    def pixel(self, cell: int) -> Fraction:
        """Where a cell begins."""
        return (self.start + (self.stop - self.start) * Fraction(cell, self.cells)) * self.length

    def _cell(self, pixel: int) -> Fraction:
        return (Fraction(pixel, self.length) - self.start) / (self.stop - self.start) * self.cells


def _shown(view: View, axis: int) -> range:
    span = (view.rows, view.columns)[axis][0]
    return range(span.start, span.stop)


def _down(pixels: int) -> int:
    return pixels // STRIDE * STRIDE


def _up(pixels: int) -> int:
    return -(-pixels // STRIDE) * STRIDE
