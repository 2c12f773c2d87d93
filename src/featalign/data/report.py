"""What :func:`featalign.data.check_data` found, as typed values and as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featalign.data.findings import Finding
from featalign.spec import Classes


@dataclass(frozen=True)
class SplitStatistics:
    """Pixels of each value over the readable masks of one split."""

    name: str
    pairs: int
    counts: dict[int, int]
    classes: Classes

    @property
    def void_fraction(self) -> float:
        """Share of ``ignore_index`` among all pixels; nan without pixels."""
        return _share(self.counts.get(self.classes.ignore_index, 0), sum(self.counts.values()))

    @property
    def pixels(self) -> tuple[int, ...]:
        """Of each class."""
        ids = range(len(self.classes))
        return tuple(self.counts.get(i, 0) if i != self.classes.ignore_index else 0 for i in ids)

    @property
    def class_fraction(self) -> tuple[float, ...]:
        """Share of each class among the pixels of all classes; nan without pixels."""
        return tuple(_share(count, sum(self.pixels)) for count in self.pixels)

    @property
    def absent(self) -> tuple[int, ...]:
        """Ids of the classes that never occur."""
        return tuple(i for i in range(len(self.classes)) if i not in self.counts)

    def to_json(self) -> dict[str, Any]:
        """Plain values; classes by name, absent ones by name, too; null for nan."""
        names = self.classes.names
        return {
            "images": self.pairs,
            "void_fraction": _or_null(self.void_fraction),
            "pixels": dict(zip(names, self.pixels, strict=True)),
            "class_fraction": {n: _or_null(f) for n, f in zip(names, self.class_fraction, strict=True)},
            "absent": [names[i] for i in self.absent],
        }


@dataclass(frozen=True)
class CheckReport:
    """The findings and the statistics of a data set's splits. ``ok``: it can be trained on.

    ``layout``, ``settings``: how it was read, with every option. ``labels``: what stored values became, in words.
    """

    root: Path
    classes: Classes
    splits: tuple[SplitStatistics, ...]
    findings: tuple[Finding, ...]
    layout: str
    settings: Mapping[str, Any]
    labels: str

    @property
    def errors(self) -> list[Finding]:
        """The findings that forbid training."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def notes(self) -> list[Finding]:
        """The findings that do not."""
        return [finding for finding in self.findings if finding.severity == "note"]

    @property
    def ok(self) -> bool:
        """No finding forbids training."""
        return not self.errors

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dump``."""
        return {
            "root": str(self.root),
            "ok": self.ok,
            "layout": self.layout,
            "options": dict(self.settings),
            "labels": self.labels,
            "classes": list(self.classes.names),
            "splits": {split.name: split.to_json() for split in self.splits},
            "findings": [finding.to_json() for finding in self.findings],
        }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _or_null(value: float) -> float | None:
    return None if value != value else value
