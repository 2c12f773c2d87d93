"""The log of a run: one JSON object per line, only ever appended to, so that a killed run loses nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType

from featalign.errors import FeatalignError


class RunLog:
    """Appends rows to ``log.jsonl``; every row is on its way to disk before the next step begins.

    Rows of kind "train" hold step, loss, main_loss, auxiliary_loss, lr, images_per_second, seconds_left and
    peak_memory_mb; rows of kind "validation" hold step, the scores, per-class IoU by name and whether they are the
    best so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise FeatalignError(f"{path}: cannot be written ({error.strerror})") from error

    def write(self, kind: str, **values: object) -> None:
        """Append one row. Raises FeatalignError when the disk is full."""
        row = json.dumps(finite({"kind": kind, **values}), ensure_ascii=False, allow_nan=False)
        try:
            self._file.write(f"{row}\n")
            self._file.flush()
        except OSError as error:
            raise FeatalignError(f"{self.path}: cannot be written ({error.strerror})") from error

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def finite(value: object) -> object:
    """``value`` with every nan and infinity in it replaced by None, because JSON has neither."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
