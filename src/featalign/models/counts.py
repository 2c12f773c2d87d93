"""Parameters and GFLOPs of the papers beside those of the networks here, as numbers and as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from featalign.models.factory import create_model
from featalign.models.tables import CLASSES, Row, Table


@dataclass(frozen=True)
class Comparison:
    """A row and what is counted here: millions of parameters, GFLOPs; None where nothing is built or printed."""

    table: Table
    row: Row
    parameters: float | None
    gflops: float | None

    @property
    def matches(self) -> bool:
        """Whether all that is printed is met within one unit of the last digit: papers round and cut off alike."""
        differences = [self.parameters_difference, self.gflops_difference if self.row.gflops is not None else 0.0]
        return all(difference is not None and abs(difference) < 0.1 for difference in differences)

    @property
    def parameters_difference(self) -> float | None:
        """Ours less the paper's, in millions."""
        return None if self.parameters is None else self.parameters - self.row.parameters

    @property
    def gflops_difference(self) -> float | None:
        """Ours less the paper's."""
        return None if self.gflops is None or self.row.gflops is None else self.gflops - self.row.gflops

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "table": self.table.title,
            "row": self.row.label,
            "model": self.row.build,
            "paper": {"parameters": self.row.parameters, "gflops": self.row.gflops},
            "ours": {"parameters": _rounded(self.parameters), "gflops": _rounded(self.gflops)},
            "difference": {
                "parameters": _rounded(self.parameters_difference),
                "gflops": _rounded(self.gflops_difference),
            },
            "matches": self.matches,
            "note": self.row.note,
        }


def compare(tables: Iterable[Table]) -> Iterator[Comparison]:
    """Build and count every row, one after the other. No weights are drawn and nothing is computed: shapes alone."""
    for table in tables:
        for row in table.rows:
            yield Comparison(table, row, *_measure(table, row))


def _measure(table: Table, row: Row) -> tuple[float | None, float | None]:
    if row.build is None:
        return None, None
    with torch.device("meta"):
        model = create_model(classes=CLASSES, **row.build)
    parameters = sum(p.numel() for p in model.parameters())
    flops = None if row.gflops is None else table.count(model, table.size) / 1e9
    return parameters / 1e6, flops


def to_markdown(comparisons: Sequence[Comparison]) -> str:
    """The page docs/counts.md."""
    parts = [_INTRODUCTION]
    for table, rows in groupby(comparisons, key=lambda comparison: comparison.table):
        parts += [f"\n## {table.title}\n\n{table.convention}.\n", _HEADER]
        parts += [_line(comparison) for comparison in rows]
    return "\n".join(parts) + "\n"


_INTRODUCTION = """# Counts

Parameters in millions and GFLOPs as the papers print them, beside those of the networks here with 19 classes. Made by
`featalign info --table --markdown docs/counts.md`; do not edit. A difference below one unit of the last printed digit
is a match, since the papers round and cut off alike; every other row says why it differs. Networks: arguments of
`featalign.create_model`."""
_HEADER = """| row | network | M, paper | here | | GFLOPs, paper | here | | note |
|---|---|---:|---:|---:|---:|---:|---:|---|"""


def _line(comparison: Comparison) -> str:
    row = comparison.row
    parameters = decimals(row.parameters, 1), decimals(comparison.parameters), signed(comparison.parameters_difference)
    gflops = decimals(row.gflops, 1), decimals(comparison.gflops), signed(comparison.gflops_difference)
    cells = [_escaped(row.label), _call(row.build), *parameters, *gflops, _escaped(row.note)]
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return text.replace("*", "\\*").replace("|", "\\|")


def _call(build: dict[str, Any] | None) -> str:
    return "" if build is None else f"`{', '.join(f'{key}={value}' for key, value in build.items())}`"


def decimals(value: float | None, places: int = 2) -> str:
    """A number, or nothing."""
    return "" if value is None else f"{value:.{places}f}"


def signed(value: float | None) -> str:
    """A difference with its sign, or nothing."""
    return "" if value is None else f"{value:+.2f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
