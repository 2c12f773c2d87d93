"""What the commands share: sizes, progress bars, tables, JSON files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track
from rich.table import Table

from featalign.errors import ConfigError
from featalign.files import write_atomically

T = TypeVar("T")
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """``720x960`` (height x width) or one number for a square; None stays None. Raises ConfigError."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text.strip().lower())
    if match is None:
        raise ConfigError(f'expected a size as HEIGHTxWIDTH, like 720x960, got "{text}"')
    return int(match[1]), int(match[2] or match[1])


def progress(items: Iterable[T], *, total: int, description: str) -> Iterable[T]:
    """A bar on a terminal, nothing elsewhere."""
    return track(items, description=description, total=total, console=err, transient=True, disable=not err.is_terminal)


def save_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write ``content`` if a file was asked for."""
    if path is not None:
        write_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def table(rows: Iterable[Sequence[str]], *, header: Sequence[str] = ()) -> None:
    """Left-aligned first column, the others to the right."""
    grid = Table(box=None, show_header=bool(header), padding=(0, 2, 0, 0), header_style="bold")
    rows = list(rows)
    for i in range(len(header) or len(rows[0])):
        grid.add_column(header[i] if header else "", justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    out.print(grid)


def percent(value: float) -> str:
    """0.5327 to 53.27; a dash for nan."""
    return "-" if value != value else f"{100 * value:.2f}"
