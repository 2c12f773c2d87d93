"""What the values stored in masks mean, as one explicit table; and what to do about values that it does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featalign.errors import DataError
from featalign.spec import Classes, Color

_UNKNOWN = -(1 << 31)
_TABLE_SIZE = 1 << 16


@dataclass(frozen=True)
class LabelMap:
    """Stored value -> class id.

    Attributes:
        classes: what the ids mean.
        ids: class id of each stored value that is one.
        ignored: stored values that become ``classes.ignore_index``.
        convention: what the stored values are called in messages, such as ``labelIds``.
        expected: the known values in words; by default their ranges.
        cure: what to do about a mask, from its ``{value: pixels}``.
    """

    classes: Classes
    ids: Mapping[int, int]
    ignored: frozenset[int]
    convention: str
    cure: Callable[[Mapping[int, int]], str]
    expected: str = ""

    @cached_property
    def known(self) -> frozenset[int]:
        """All values that have a meaning."""
        return frozenset(self.ids) | self.ignored

    @cached_property
    def _table(self) -> NDArray[np.int64]:
        """Class id by stored value 0 … 65535."""
        table = np.full(_TABLE_SIZE, _UNKNOWN, np.int64)
        for value in self.known:
            if 0 <= value < _TABLE_SIZE:
                table[value] = self.target(value)
        return table

    def target(self, value: int) -> int:
        """The class id, or the ignore index, of a known value."""
        return self.ids.get(value, self.classes.ignore_index)

    def apply(self, values: NDArray[np.integer]) -> NDArray[np.int64]:
        """Class ids, int64, of a mask as stored. Raises DataError with the values and the cure if any is unknown."""
        ids = self._look_up(values)
        if (ids == _UNKNOWN).any():
            self.check(count_labels(values))
        return ids

    def _look_up(self, values: NDArray[np.integer]) -> NDArray[np.int64]:
        if values.dtype in (np.uint8, np.uint16):
            return self._table[values]
        found, places = np.unique(values, return_inverse=True)
        ids = [self.target(v) if v in self.known else _UNKNOWN for v in found.tolist()]
        return np.array(ids, np.int64)[places.reshape(values.shape)]

    def unknown(self, counts: Mapping[int, int]) -> dict[int, int]:
        """The part of ``{value: pixels}`` that has no meaning."""
        return {value: pixels for value, pixels in counts.items() if value not in self.known}

    def check(self, counts: Mapping[int, int]) -> None:
        """Raises DataError with the values, how often they occur and what to do, if a value is unknown."""
        unknown = self.unknown(counts)
        if not unknown:
            return
        shown = ", ".join(f"{value} ({pixels} pixels)" for value, pixels in list(unknown.items())[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise DataError(
            f"values outside the {self.convention}: {shown}{more}; expected {self.expected or ranges(self.known)}; "
            f"{self.cure(counts)}"
        )

    def count(self, counts: Mapping[int, int]) -> dict[int, int]:
        """``{class id: pixels}`` of ``{value: pixels}``; values without meaning stay as they are."""
        found: dict[int, int] = {}
        for value, pixels in counts.items():
            target = self.target(value) if value in self.known else value
            found[target] = found.get(target, 0) + pixels
        return found

    def words(self) -> str:
        """The map for the eye: ``labelIds 7->0 road, …; ignored: 0 … 6``; runs of one shift are drawn together."""
        parts = [_run_words(run, self) for run in _runs(self.ids)]
        ignored = f"; ignored: {ranges(self.ignored)}" if self.ignored else ""
        return f"{self.convention} {', '.join(parts)}{ignored}"


def identity(classes: Classes) -> LabelMap:
    """Values are class ids already, or the ignore index."""
    ids = {i: i for i in range(len(classes)) if i != classes.ignore_index}
    expected = f"0 … {len(classes) - 1}, or {classes.ignore_index} for pixels to ignore"
    ignored = frozenset({classes.ignore_index})
    return LabelMap(classes, ids, ignored, "classes", _Cure(len(classes), classes.ignore_index), expected)


@dataclass(frozen=True)
class _Cure:
    """What to do about masks of one's own."""

    classes: int
    ignore_index: int

    def __call__(self, counts: Mapping[int, int]) -> str:
        if set(counts) <= {0, 255}:
            return 'masks of 0 and 255: write the foreground as 1, or read it so with --layout-option remap="{255: 1}"'
        if set(counts) - set(range(self.classes)) - {self.ignore_index} == {self.classes}:
            return (
                "if the ids count from 1, subtract 1 from each of them (--layout-option shift=-1); 0, where it means "
                f"unlabelled, becomes {self.ignore_index} (--layout-option reduce_zero=true does both)"
            )
        return (
            f"add the missing classes to classes.json, or write these pixels as {self.ignore_index} "
            '(--layout-option remap="{VALUE: ID}" maps single values)'
        )


def count_labels(mask: NDArray[np.integer]) -> dict[int, int]:
    """``{value: pixels}`` for the values that occur."""
    if mask.dtype == np.uint8:
        counts = np.bincount(mask.ravel(), minlength=256)
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    values, counts = np.unique(mask, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def check_palette(palette: Sequence[Color] | None, counts: Mapping[int, int], labels: LabelMap) -> None:
    """Raises DataError if most of a mask's palette colours are those of other classes than its indices mean."""
    names, colors = labels.classes.names, labels.classes.colors
    meant = {value: labels.ids.get(value) for value in counts if value not in labels.ignored}
    shown = {value: palette[value] for value in meant if palette and value < len(palette)}
    wrong = [v for v, color in shown.items() if color in colors and color != _color_of(meant[v], colors)]
    if 2 * len(wrong) > len(shown):
        label, painted = meant[wrong[0]], names[colors.index(shown[wrong[0]])]
        told = "no class" if label is None else names[label]
        raise DataError(
            f"palette index {wrong[0]} stands for {told} but has the colour of {painted}: a program renumbered "
            "the colours; export the mask with its palette kept, or read it by its colours with --layout-option "
            "colors=true"
        )


def _color_of(label: int | None, colors: Sequence[Color]) -> Color | None:
    return None if label is None else colors[label]


def ranges(values: Iterable[int]) -> str:
    """``0 … 6, 9, 11 … 13``."""
    runs = _runs({value: value for value in values})
    return ", ".join(f"{first}" if first == last else f"{first} … {last}" for first, last in runs)


def _runs(ids: Mapping[int, int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive values that are shifted alike."""
    runs: list[tuple[int, int]] = []
    for value in sorted(ids):
        if runs and runs[-1][1] == value - 1 and ids[value] - ids[value - 1] == 1:
            runs[-1] = (runs[-1][0], value)
        else:
            runs.append((value, value))
    return runs


def _run_words(run: tuple[int, int], labels: LabelMap) -> str:
    first, last = run
    names = labels.classes.names
    start, end = labels.ids[first], labels.ids[last]
    if first == last:
        return f"{first}->{start} {names[start]}"
    return f"{first} … {last} -> {start} … {end} ({names[start]} … {names[end]})"
