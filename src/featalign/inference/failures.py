"""The record of the images that failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from featalign.errors import DataError, FeatalignError
from featalign.inference.listing import Shard


class Failures:
    """The images that failed; each is on disk as soon as it is known. An earlier record is removed."""

    def __init__(self, folder: Path, shard: Shard | None) -> None:
        part = "" if shard is None else f"-{shard.index}-of-{shard.count}"
        self._path = folder / f"failures{part}.jsonl"
        self._path.unlink(missing_ok=True)
        self.reasons: dict[Path, str] = {}

    def add(self, image: Path, reason: str) -> None:
        self.reasons[image] = reason if str(image) in reason else f"{image}: {reason}"
        row = json.dumps({"image": str(image), "reason": self.reasons[image]})
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(row + "\n")
        except OSError as error:
            raise FeatalignError(f"{self._path}: cannot be written ({error.strerror})") from error


@contextmanager
def memory_named(image: Path, *, advice: str) -> Iterator[None]:
    """Turn torch's two ways of saying that memory is out into a DataError with what helps."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and "allocate" not in str(error):
            raise
        raise DataError(f"{image}: memory is not enough; {advice}") from error
