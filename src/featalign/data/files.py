"""Files of data sets, wherever they are: on disk, in a zip archive, in memory, or one of many in a single file."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from featalign.data.content import Content
from featalign.errors import DataError


@dataclass(frozen=True)
class Member:
    """A file inside a zip archive, opened like a path; can be pickled, shared by threads and forked."""

    archive: Path
    inner: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.inner).name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.inner).stem

    @property
    def suffix(self) -> str:
        """With its dot, empty if there is none."""
        return PurePosixPath(self.inner).suffix

    def open(self, mode: str = "rb") -> BinaryIO:
        """Its bytes, unpacked into memory and compared with the checksum."""
        return io.BytesIO(self.read_bytes())

    def read_bytes(self) -> bytes:
        """All of it."""
        archive = open_archive(self.archive)
        if archive.getinfo(self.inner).flag_bits & 1:
            raise DataError("is encrypted; unpack the archive with its password first")
        try:
            return archive.read(self.inner)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise OSError(f"damaged inside the archive: {error}") from error

    def __str__(self) -> str:
        return f"{self.archive}/{self.inner}"


@dataclass(frozen=True)
class Entry:
    """One of many masks that a single file holds; ``key`` says which."""

    file: Path | Member
    key: str

    @property
    def name(self) -> str:
        """What it is called inside the file."""
        return self.key

    @property
    def stem(self) -> str:
        """The same."""
        return self.key

    @property
    def suffix(self) -> str:
        """That of the file."""
        return self.file.suffix

    def open(self, mode: str = "rb") -> BinaryIO:
        """The whole file."""
        return io.BytesIO(self.read_bytes())

    def read_bytes(self) -> bytes:
        """All of the file."""
        return self.file.read_bytes()

    def __str__(self) -> str:
        return f"{self.file} ({self.key})"


File = Path | Member | Content | Entry


def open_archive(path: Path) -> zipfile.ZipFile:
    """One handle for each process: a handle inherited by a fork would share its position in the file."""
    return _handle(path, os.getpid(), version_of(path))


def version_of(path: Path) -> tuple[int, int]:
    """What changes when a file is written anew."""
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return state.st_mtime_ns, state.st_size


@lru_cache(maxsize=16)
def _handle(path: Path, process: int, version: tuple[int, int]) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as a zip file ({error}); copy or download it again") from error
