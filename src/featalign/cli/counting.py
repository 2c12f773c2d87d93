"""The papers' tables on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from featalign.cli.console import out, progress, save_json, table
from featalign.files import write_atomically
from featalign.models.counts import Comparison, compare, decimals, signed, to_markdown
from featalign.models.tables import TABLES

_COLUMNS = ("M, paper", "here", "", "GFLOPs, paper", "here", "")


def show_tables(*, json: Path | None, markdown: Path | None) -> None:
    """Count every row (seconds), print the tables, and write them where asked."""
    rows = sum(len(each.rows) for each in TABLES)
    found = list(progress(compare(TABLES), total=rows, description="counting"))
    for title, comparisons in groupby(found, key=lambda comparison: comparison.table.title):
        _show(title, list(comparisons))
    save_json(json, {"rows": [comparison.to_json() for comparison in found]})
    if markdown is not None:
        write_atomically(markdown, to_markdown(found))


def _show(title: str, comparisons: Sequence[Comparison]) -> None:
    """A table, then why rows of it differ."""
    table([_cells(comparison) for comparison in comparisons], header=(title, *_COLUMNS))
    for comparison in comparisons:
        if comparison.row.note:
            out.print(f"  {comparison.row.label}: {comparison.row.note}")
    out.print()


def _cells(comparison: Comparison) -> tuple[str, ...]:
    row = comparison.row
    parameters = decimals(row.parameters, 1), decimals(comparison.parameters), signed(comparison.parameters_difference)
    gflops = decimals(row.gflops, 1), decimals(comparison.gflops), signed(comparison.gflops_difference)
    return row.label, *parameters, *gflops
