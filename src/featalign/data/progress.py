"""Going through many items: shown while it lasts, done by threads, ended by Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")
R = TypeVar("R")


class Progress(Protocol):
    """Hands on ``items`` one by one while it shows how far it is."""

    def __call__(self, items: Iterable[T], *, total: int, description: str) -> Iterable[T]: ...


def silent(items: Iterable[T], *, total: int, description: str) -> Iterable[T]:
    """Shows nothing."""
    return items


def bar_on(console: Console) -> Progress:
    """A bar if the console is a terminal, nothing elsewhere."""
    return partial(track, console=console, transient=True) if console.is_terminal else silent


def threaded(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``map`` in threads, since Pillow decodes without holding Python's lock. What waits is dropped on an interrupt."""
    pool = ThreadPoolExecutor()
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)
