"""A file that is nowhere but in memory, such as an upload."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO


@dataclass(frozen=True)
class Content:
    """Bytes that are read like a file; ``name`` is how messages call them."""

    data: bytes = field(repr=False)
    name: str

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """With its dot, empty if there is none."""
        return PurePosixPath(self.name).suffix

    def open(self, mode: str = "rb") -> BinaryIO:
        """A stream over the bytes."""
        return io.BytesIO(self.data)

    def read_bytes(self) -> bytes:
        """All of it."""
        return self.data

    def __str__(self) -> str:
        return self.name
