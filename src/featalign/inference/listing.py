"""Which images there are, and which of them are whose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from featalign.data.pairs import IMAGE_SUFFIXES
from featalign.data.sources import is_hidden
from featalign.errors import ConfigError, DataError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 1) of ``count``: every ``count``-th of a list."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``2/8``: the second of eight. Raises ConfigError."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise ConfigError(f'expected a shard as i/n, from 1/n to n/n, got "{text}"')
        return cls(int(index), int(count))

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """The items of this part."""
        return items[self.index - 1 :: self.count]


def collect_images(sources: Sequence[Path]) -> list[Path]:
    """The image files among ``sources``; a folder stands for the visible images directly in it.

    Raises:
        DataError: if a source does not exist, a folder holds no image, or two images would get the same name.
    """
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = sorted(path for path in source.iterdir() if _is_image(path))
            if not inside:
                folders = any(path.is_dir() for path in source.iterdir())
                advice = "; folders in it are not searched: name them" if folders else ""
                raise DataError(f"{source}: holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}){advice}")
            found += inside
        elif source.exists():
            found.append(source)
        else:
            raise DataError(f"{source}: no such file or folder")
    by_stem: dict[str, Path] = {}
    for path in found:
        other = by_stem.setdefault(path.stem, path)
        if other is not path:
            raise DataError(
                f"{other} and {path} would both be written as {path.stem}.png; give them in separate calls, each with "
                "an --out of its own"
            )
    return found


def _is_image(path: Path) -> bool:
    """By its name, and no folder; hidden files, such as macOS's ``._NAME.jpg``, are none, as in data sets."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path.name) and not path.is_dir()
