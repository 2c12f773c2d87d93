"""What the commands share: sizes, progress bars, tables, JSON files, what is said of images in the end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import typer
from rich.console import Console

from featalign.errors import ConfigError
from featalign.files import write_atomically

T = TypeVar("T")
out = Console(highlight=False, soft_wrap=True, markup=False)  # names of files and classes may have brackets
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


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
    from featalign.data import bar_on

    return bar_on(err)(items, description=description, total=total)


def conclude(failures: Mapping[Path, str], *, images: int, folder: Path) -> None:
    """Why images failed, and how many were written. Raises typer.Exit with code 2 if any failed."""
    for reason in failures.values():
        err.print(f"featalign: {reason}")
    out.print(f"{images - len(failures)} of {images} images written to {folder}")
    if failures:
        raise typer.Exit(2)


def save_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write ``content`` if a file was asked for."""
    if path is not None:
        write_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def table(rows: Iterable[Sequence[str]], *, header: Sequence[str] = (), numbers: bool = True) -> None:
    """Aligned columns, never cut: the first to the left, the others to the right if they are ``numbers``."""
    lines = [*([header] if header else []), *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        first, *others = [
            cell.rjust(w) if i and numbers else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        out.print("  ".join([first, *others]).rstrip())


def percent(value: float) -> str:
    """0.5327 to 53.27; a dash for nan."""
    return "-" if value != value else f"{100 * value:.2f}"


def verdict(errors: int) -> str:
    """The last line of a check of data."""
    if not errors:
        return "ready to train on"
    return f"{errors} {'error' if errors == 1 else 'errors'}: train would refuse this data"
