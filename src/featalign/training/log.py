"""The log of a run: one JSON object per line, only ever appended to, so that a killed run loses nothing."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from featalign.errors import ConfigError, FeatalignError


class RunLog:
    """Appends rows to ``log.jsonl``; every row is on its way to disk before the next step begins.

    Rows of kind "train" hold step, loss, main_loss, auxiliary_loss, gradient_norm, lr, images_per_second,
    seconds_left and the peaks of memory; rows of kind "validation" hold step, the scores, per-class IoU by name, which
    score chooses the best model, and whether they are the best so far; rows of kind "skipped" hold a step that was left
    out, its losses and files.

    While it is open, no other process can open it: one run per folder. Killing the process frees it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            self._file = path.open("a", encoding="utf-8")
        _lock(self._file, path)

    def write(self, kind: str, **values: object) -> None:
        """Append one row. Raises FeatalignError when the disk is full."""
        row = json.dumps(finite({"kind": kind, **values}), ensure_ascii=False, allow_nan=False)
        with writing(self.path):
            self._file.write(f"{row}\n")
            self._file.flush()

    def secure(self) -> int:
        """Flush to disk; the length in bytes, for :meth:`cut`. Raises FeatalignError when the disk is full."""
        with writing(self.path):
            self._file.flush()
            if self.path != Path(os.devnull):
                os.fsync(self._file.fileno())
            return self.path.stat().st_size

    def cut(self, length: int) -> None:
        """Remove what was written after the log was ``length`` bytes long. Raises FeatalignError if it cannot be."""
        with writing(self.path):
            if self.path.stat().st_size > length:
                self._file.truncate(length)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with writing(self.path, after=error):
            self._file.close()  # tries again what could not be written, and closes in any case


@contextmanager
def writing(path: Path, *, after: BaseException | None = None) -> Iterator[None]:
    """Failures to write ``path`` in one line. ``after``: an error that ends the run already; it is the one to tell.

    Raises:
        FeatalignError: naming ``path`` and the reason, unless there was another error before.
    """
    try:
        yield
    except OSError as error:
        if after is None:
            raise FeatalignError(f"{path}: cannot be written ({error.strerror or error})") from error


def _lock(file: IO[str], path: Path) -> None:
    """A lock that dies with the process and is not inherited by those that read images; none on Windows."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(
            f"{path.parent}: another process is training in this folder; wait for it, or end it"
        ) from error
    except OSError:  # a file system without locks
        return


def finite(value: object) -> object:
    """``value`` with every nan and infinity in it replaced by None, because JSON has neither."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
