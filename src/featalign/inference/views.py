"""What a network sees of one image: at which sizes, mirrored or not, whole or through windows.

Averaging over several sizes and mirror images is the papers' multi-scale testing (IFA: 0.5 … 2; AlignSeg: 0.75 … 1.75).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple, get_args

from featalign.errors import ConfigError, did_you_mean
from featalign.inference.network import Box, Size

Published = Literal["ifa", "alignseg"]
Edges = tuple[Fraction, Fraction]
ALL: tuple[Edges, Edges] = ((Fraction(0), Fraction(1)), (Fraction(0), Fraction(1)))


class Span(NamedTuple):
    """One axis of one window: it shows [start, stop) of the scaled image and answers for [first, end) of the grid."""

    start: int
    stop: int
    first: int
    end: int


@dataclass(frozen=True)
class View:
    """The image at one size, cut into windows.

    ``size``: of the scaled image. ``grid``: on which the network is asked, over ``region``, the (rows, columns) of the
    image in [0, 1] that the answer is wanted for. ``rows``, ``columns``: windows of each axis.
    """

    size: Size
    grid: Size
    region: tuple[Edges, Edges]
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def box(self, row: Span, column: Span, band: range, *, flipped: bool) -> Box:
        """Rows ``band`` of the grid and all columns of a window, in [0, 1] of what the window shows."""
        top, bottom = (self._place(edge, row, 0) for edge in (band.start, band.stop))
        left, right = (self._place(edge, column, 1) for edge in (column.first, column.end))
        edges = (1 - right, top, 1 - left, bottom) if flipped else (left, top, right, bottom)
        return float(edges[0]), float(edges[1]), float(edges[2]), float(edges[3])

    def _place(self, edge: int, span: Span, axis: int) -> Fraction:
        """A border of the grid's cells, in [0, 1] of a window: exact, so that a whole box is known as one."""
        start, stop = self.region[axis]
        pixels = (start + (stop - start) * Fraction(edge, self.grid[axis])) * self.size[axis]
        return (pixels - span.start) / (span.stop - span.start)

    def whole_grid(self, row: Span, column: Span) -> Size:
        """The grid over one window for a network that answers for whole windows only: where the window covers whole
        cells of the grid, these; else the window's own pixels."""
        rows, columns = (
            span.end - span.first
            if self._place(span.first, span, axis) == 0 and self._place(span.end, span, axis) == 1
            else span.stop - span.start
            for axis, span in enumerate((row, column))
        )
        return rows, columns


@dataclass(frozen=True)
class Views:
    """Which views are averaged, and how.

    Args:
        scales: sizes relative to the network's input size; rounded to whole pixels, at least one.
        flip: also show the mirror image (left and right) of everything.
        window: (height, width) in pixels of the scaled image; larger images are cut into windows of this size. None:
            always whole.
        overlap: part of a window that the next one repeats, in [0, 1).
        published: None averages probabilities, each asked of the network on the output's own grid. ``ifa`` and
            ``alignseg`` do as these papers' evaluation code does: images are resized with aligned corners, the network
            answers at the pixels of the scaled image, and that answer is resized; ``ifa`` pads images smaller than a
            window on all sides, ``alignseg`` at the bottom right and averages logits. See docs/protocols.md.

    Raises:
        ConfigError: for a value out of range.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window: Size | None = None
    overlap: float = 1 / 3
    published: Published | None = None

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise ConfigError(f"scales must be positive numbers, got {self.scales}; for example 0.5, 1, 2")
        if self.window is not None and min(self.window) < 1:
            raise ConfigError(f"a window must have at least one pixel, got {self.window}")
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"overlap is a part of a window, at least 0 and below 1, got {self.overlap}")
        if self.published not in (None, *get_args(Published)):
            raise ConfigError(
                f'unknown published protocol "{self.published}": '
                f"{did_you_mean(str(self.published), get_args(Published))}"
            )

    @property
    def flips(self) -> tuple[bool, ...]:
        """Not mirrored, mirrored."""
        return (False, True) if self.flip else (False,)

    def of(self, size: Size, output: Size, region: tuple[Edges, Edges] = ALL) -> list[View]:
        """The views of an image of ``size`` for an answer of ``output`` over ``region``. Raises ConfigError."""
        if self.published is not None and region != ALL:
            raise ConfigError(f'the protocol "{self.published}" answers for whole images; leave out the box or it')
        return [self._view(size, output, region, scale) for scale in self.scales]

    def _view(self, size: Size, output: Size, region: tuple[Edges, Edges], scale: float) -> View:
        scaled = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
        grid = output if self.published is None else scaled
        rows, columns = (
            self._spans(_Axis(scaled[axis], grid[axis], *region[axis]), self.window and self.window[axis])
            for axis in (0, 1)
        )
        return View(scaled, grid, region, rows, columns)

    def _spans(self, axis: _Axis, window: int | None) -> tuple[Span, ...]:
        """Windows along one axis; the last one is moved back inside. Those without a cell of the grid are left out."""
        length = axis.length
        if window is None or window >= length:
            if window is None or self.published is None:
                return (Span(0, length, 0, axis.cells),)
            before = (window - length) // 2 if self.published == "ifa" else 0
            return (Span(-before, window - before, 0, axis.cells),)
        stride = axis.stride(window, self.overlap)
        starts = (min(i * stride, length - window) for i in range(math.ceil((length - window) / stride) + 1))
        spans = (axis.span(start, start + window) for start in starts)
        return tuple(span for span in spans if span.first < span.end)


class _Axis(NamedTuple):
    """``cells`` of the grid over the part [start, stop] in [0, 1] of ``length`` pixels."""

    length: int
    cells: int
    start: Fraction
    stop: Fraction

    def span(self, start: int, stop: int) -> Span:
        """The window [start, stop): it answers for the cells that lie in it whole."""
        first, end = math.ceil(self._cell(start)), math.floor(self._cell(stop))
        return Span(start, stop, min(max(first, 0), self.cells), min(max(end, 0), self.cells))

    def _cell(self, pixel: int) -> Fraction:
        return (Fraction(pixel, self.length) - self.start) / (self.stop - self.start) * self.cells

    def stride(self, window: int, overlap: float) -> int:
        """From one window to the next. They overlap by a cell unless all borders of pixels are borders of cells."""
        pitch = (self.stop - self.start) * self.length / self.cells
        nested = pitch.numerator == 1 and (self.start * self.length / pitch).denominator == 1
        least = 0 if nested else math.ceil(pitch)
        if window <= least:
            raise ConfigError(
                f"a window side of {window} is too small: a pixel of the answer is {float(pitch):.3g} pixels of the "
                f"image that the network sees; take at least {least + 1}"
            )
        return min(max(1, math.ceil(round(window * (1 - overlap), 6))), window - least)
