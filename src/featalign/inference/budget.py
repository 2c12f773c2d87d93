"""How an answer is cut into bands, so that what is held at a time stays within a budget of bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from featalign.errors import ConfigError
from featalign.inference.live_memory import EncoderMemory
from featalign.inference.network import Size
from featalign.inference.views import Span, View
from featalign.memory import free_memory

LEAST_SCRATCH = 16 * 2**20
"""What decoding is given at least, besides its answer."""

_FEWEST_ROWS = 16
"""Bands smaller than this cost more than looking at the image again for each larger one."""


class Plan(NamedTuple):
    """``rows`` answered at a time; whether what was seen is kept for the next band; bytes for decoding (None: any)."""

    rows: int
    keep: bool = False
    scratch: int | None = None

    def bands(self, height: int) -> list[range]:
        """The bands of an answer of ``height`` rows."""
        return [range(start, min(start + self.rows, height)) for start in range(0, height, self.rows)]


@dataclass(frozen=True)
class Needs:
    """Bytes that an average takes besides the images and the answer. ``encoder``: None where a network answers whole
    windows only; then what it takes inside is its own."""

    batch: int
    channels: int
    classes: int
    image: Size
    output: Size
    views: Sequence[View]
    flips: int
    encoder: EncoderMemory | None

    def total(self, rows: int, *, keep: bool) -> int:
        """At the peak, while bands of ``rows`` are answered."""
        looking = max(self._looking(view) for view in self.views)
        return self._standing(rows, keep=keep) + max(looking, self._answers(rows) + LEAST_SCRATCH)

    def scratch(self, rows: int, *, keep: bool, budget: int) -> int:
        """What is left of ``budget`` for decoding."""
        return budget - self._standing(rows, keep=keep) - self._answers(rows)

    def quick(self, rows: int) -> int:
        """The part of :meth:`total` that grows with the number of classes; known without looking at the network."""
        return self._band(rows) + self._answers(rows)

    def _standing(self, rows: int, *, keep: bool) -> int:
        """What is there all the time: the band, and what has been seen."""
        if keep:
            return self._band(rows) + sum(self._live(view, self._view_rows(view, rows)) for view in self.views)
        return self._band(rows) + max(self._seen(view) for view in self.views)

    def _band(self, rows: int) -> int:
        """The sum over the views; published protocols hold the answer on the scaled image and resize that."""
        cells = rows * self.output[1]
        resized = [
            self._view_rows(view, rows) * view.grid[1] + rows * (2 * view.grid[1] + 2 * self.output[1])
            for view in self.views
            if view.grid != self.output
        ]
        return self._cells(cells + max(resized, default=0))

    def _answers(self, rows: int) -> int:
        """Logits of one window's part of a band, and what becomes of them."""
        parts = (min(self._view_rows(view, rows), _longest(view.rows)) * _longest(view.columns) for view in self.views)
        return 3 * self._cells(max(parts))

    def _looking(self, view: View) -> int:
        """Cutting out a window, resizing it, and the network's way to its features."""
        height, width = _window(view)
        ratio = max(1.0, self.image[0] / view.size[0]) * max(1.0, self.image[1] / view.size[1])
        cut = int(8 * self.batch * self.channels * (ratio + 1) * height * width)
        return cut + (self.batch * self.encoder((height, width)).peak if self.encoder else 0)

    def _seen(self, view: View) -> int:
        """What is kept of one window."""
        height, width = _window(view)
        if self.encoder is None:
            return self._cells(height * width)
        return self.batch * self.encoder((height, width)).kept

    def _live(self, view: View, rows: int) -> int:
        return self.flips * len(view.columns) * _most_at_once(view.rows, rows) * self._seen(view)

    def _view_rows(self, view: View, rows: int) -> int:
        if view.grid == self.output:
            return rows
        return min(view.grid[0], -(-rows * view.grid[0] // self.output[0]) + 2)

    def _cells(self, cells: int) -> int:
        return 4 * self.batch * self.classes * cells


@dataclass(frozen=True)
class Budget:
    """What an average may take of memory.

    ``needs``: what is to be held. ``asked``: bytes; None takes half of what ``free()`` says, and never refuses.
    """

    needs: Needs
    asked: int | None
    free: Callable[[], int]

    def plan(self) -> Plan:
        """The plan that looks at the image as rarely as the budget allows.

        Everything in one band if that fits; else bands with what was seen kept; else bands that look again.

        Raises:
            ConfigError: if not even one row fits, with the smallest budget that does.
        """
        if self.asked is not None:
            self.check(self.asked)
            return _fitting(self.needs, self.asked) or Plan(1)
        height, available = self.needs.output[0], self.free() // 2
        if self.needs.quick(height) <= available // 2:
            return Plan(height)
        return _fitting(self.needs, available) or Plan(1)

    @property
    def scratch(self) -> int | None:
        """What is left to a decoder that cuts its answer into bands itself. Raises ConfigError as :meth:`plan`."""
        if self.asked is None:
            return None
        self.check(self.asked)
        return self.needs.scratch(0, keep=False, budget=self.asked)

    def check(self, asked: int) -> None:
        """Raises ConfigError if not even one row fits."""
        least = self.needs.total(1, keep=False)
        if asked < least:
            raise ConfigError(
                f"a memory budget of {mebibytes(asked)} is too small for this image: the network and one row of the "
                f"answer take {mebibytes(least)}; allow that, or show the network smaller windows (--window HxW)"
            )


def check_room(output: Size, pixel_bytes: int, *, otherwise: str = "") -> None:
    """Raises ConfigError for an answer that memory could not hold, at so many bytes a pixel: the system would end the
    process for it. ``otherwise``: what else can be done than to ask for less."""
    height, width = output
    needed, free = pixel_bytes * height * width, free_memory()
    if free is not None and needed > free:
        raise ConfigError(
            f"an answer of {height}x{width} takes at least {mebibytes(needed)}, and {mebibytes(free)} are free; "
            f"ask for a smaller size{otherwise}"
        )


def _fitting(needs: Needs, budget: int) -> Plan | None:
    height = needs.output[0]
    again = _most_rows(needs, budget, keep=False)
    kept = _most_rows(needs, budget, keep=True) if 0 < again < height else 0
    rows, keep = (kept, True) if kept >= min(_FEWEST_ROWS, height) else (again, False)
    if rows == 0:
        return None
    return Plan(rows, keep, needs.scratch(rows, keep=keep, budget=budget))


def _most_rows(needs: Needs, budget: int, *, keep: bool) -> int:
    """The largest band that fits, 0 for none. The need grows with the rows."""
    low, high = 0, needs.output[0]
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if needs.total(middle, keep=keep) <= budget else (low, middle - 1)
    return low


def mebibytes(count: int) -> str:
    """As an option takes it, rounded up; in KiB what is less than one."""
    return f"{-(-count // 2**20)}MiB" if count >= 2**20 else f"{-(-count // 2**10)}KiB"


def _window(view: View) -> Size:
    """The largest of the windows."""
    return max(span.stop - span.start for span in view.rows), max(span.stop - span.start for span in view.columns)


def _longest(spans: Sequence[Span]) -> int:
    return max(span.end - span.first for span in spans)


def _most_at_once(spans: Sequence[Span], rows: int) -> int:
    """How many windows, one above the other, a band of ``rows`` can meet."""
    return max(
        sum(1 for other in spans if other.first <= span.first and other.end > span.first + 1 - rows) for span in spans
    )
