"""Where data lies: a directory, a zip file read in place, or a directory of zip files that count as unpacked there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Protocol

from featalign.data.files import File, Member, open_archive, version_of
from featalign.errors import DataError

_NOISE = ("__MACOSX", "@eaDir")
"""Folders that file managers leave behind."""


@dataclass(frozen=True)
class Listing:
    """What lies directly in a folder: names of folders, and files by name."""

    folders: frozenset[str] = frozenset()
    files: dict[str, File] = field(default_factory=dict)


class Source(Protocol):
    """Anything that can list its folders; the empty text is the top."""

    def listing(self, folder: str) -> Listing | None: ...


@dataclass(frozen=True)
class Directory:
    """A directory as it is."""

    root: Path

    def listing(self, folder: str) -> Listing | None:
        """What lies in ``folder``; None if there is no such folder, or none that can be read, such as lost+found."""
        path = self.root / folder
        try:
            with os.scandir(path) as entries:
                found = list(entries)
        except OSError:
            return None
        folders = frozenset(e.name for e in found if e.is_dir())
        return Listing(folders, {e.name: path / e.name for e in found if e.name not in folders})


@dataclass(frozen=True)
class Archive:
    """A zip file that counts as unpacked into the folder ``mount``."""

    path: Path
    mount: str = ""

    def listing(self, folder: str) -> Listing | None:
        """What lies in ``folder``; None if there is no such folder."""
        return _tree(self.path, self.mount, version_of(self.path)).get(folder)


@dataclass(frozen=True)
class Overlay:
    """Several sources laid over each other; of two files of one name, the first source's counts."""

    parts: tuple[Source, ...]

    def listing(self, folder: str) -> Listing | None:
        """What lies in ``folder`` of any of them; None if there is no such folder."""
        found = [listing for part in self.parts if (listing := part.listing(folder)) is not None]
        if not found:
            return None
        files = {name: file for listing in reversed(found) for name, file in listing.files.items()}
        return Listing(frozenset[str]().union(*(listing.folders for listing in found)), files)


def zips_in(root: Path) -> Overlay | None:
    """``root`` with the zip files in it and in its direct folders as if unpacked where they lie; None without any."""
    zips = sorted([*root.glob("*.zip"), *root.glob("*/*.zip")])
    if not zips:
        return None
    archives = [Archive(path, "" if path.parent == root else path.parent.name) for path in zips]
    return Overlay((Directory(root), *archives))


def is_hidden(name: str) -> bool:
    """Names that no layout looks at."""
    return name.startswith(".") or name in _NOISE


@lru_cache(maxsize=16)
def _tree(path: Path, mount: str, version: tuple[int, int]) -> dict[str, Listing]:
    """The folders of an archive."""
    folders: dict[str, set[str]] = {"": set()}
    files: dict[str, dict[str, File]] = {}
    for inner in open_archive(path).namelist():
        parts = PurePosixPath(mount, inner).parts
        inside = parts if inner.endswith("/") else parts[:-1]
        for depth, name in enumerate(inside):
            folders.setdefault("/".join(inside[:depth]), set()).add(name)
        folders.setdefault("/".join(inside), set())
        if not inner.endswith("/"):
            files.setdefault("/".join(inside), {})[parts[-1]] = Member(path, inner)
    return {name: Listing(frozenset(inside), files.get(name, {})) for name, inside in folders.items()}


@dataclass(frozen=True)
class Tree:
    """A folder of a source, seen from ``root``, which is how messages name it."""

    root: Path
    source: Source
    base: str = ""

    def within(self, folder: str) -> Tree:
        """The same source seen from one of its folders."""
        return Tree(self.root / folder if folder else self.root, self.source, self._path(folder))

    def folders(self, folder: str = "") -> list[str]:
        """Names of the visible folders in ``folder``, sorted; none if it does not exist."""
        listing = self.source.listing(self._path(folder))
        return sorted(name for name in listing.folders if not is_hidden(name)) if listing else []

    def files(self, folder: str = "") -> list[File]:
        """The visible files in ``folder``, sorted by name; none if it does not exist."""
        listing = self.source.listing(self._path(folder))
        return [listing.files[name] for name in sorted(listing.files) if not is_hidden(name)] if listing else []

    def has(self, folder: str) -> bool:
        """Whether ``folder`` exists."""
        return self.source.listing(self._path(folder)) is not None

    def file(self, relative: str) -> File | None:
        """The file at ``relative``; None if there is none."""
        folder, _, name = self._path(relative).rpartition("/")
        listing = self.source.listing(folder)
        return listing.files.get(name) if listing else None

    def path(self, relative: str) -> Path:
        """How messages name what would lie at ``relative``."""
        return self.root / relative

    def read_text(self, relative: str) -> str:
        """A text file. Raises DataError naming it if it is missing or no text."""
        file = self.file(relative)
        if file is None:
            raise DataError(f"{self.path(relative)}: does not exist")
        try:
            return file.read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: cannot be read as text ({error})") from error

    def _path(self, relative: str) -> str:
        return "/".join(part for part in (self.base, relative) if part)


def sources_of(root: Path) -> Iterable[Tree]:
    """The ways to see ``root``: as a zip file; or as a directory, then as one whose zip files count as unpacked.

    Raises:
        DataError: if there is no such directory or zip file.
    """
    if root.is_file():
        yield Tree(root, Archive(root))
        return
    if not root.is_dir():
        raise DataError(f"{root}: is neither a folder nor a zip file")
    yield Tree(root, Directory(root))
    if (overlay := zips_in(root)) is not None:
        yield Tree(root, overlay)
