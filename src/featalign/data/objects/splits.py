"""Where the files of a data set of objects lie: COCO's own folders, and folders of that form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from featalign.errors import ConfigError, DataError, did_you_mean

Annotated = Literal["instances", "panoptic"]

_ANNOTATIONS = "annotations/{kind}_{split}.json"
_IMAGES = ("{split}/images", "images/{split}", "{split}", "images")
_YEARS = ("", "2017", "2014")


@dataclass(frozen=True)
class ObjectFiles:
    """The JSON file of a split, and the folder of its images."""

    annotations: Path
    images: Path


def find_objects(
    root: Path | str, split: str, *, kind: Annotated, annotations: str | None = None, images: str | None = None
) -> ObjectFiles:
    """The files of a split.

    By default ``annotations/{kind}_{split}.json`` and the first of the folders ``{split}/images``, ``images/{split}``,
    ``{split}`` and ``images``, each also with 2017 or 2014 after the split, as COCO names its own.

    Args:
        root: of the data set.
        split: such as ``train``, ``val2017``.
        kind: ``instances`` or ``panoptic``.
        annotations, images: paths under ``root`` to use instead; ``{split}`` in them stands for the split.

    Raises:
        DataError: if there is no such file or folder; the message lists the splits that there are.
        ConfigError: if a path has other braces than ``{split}``.
    """
    root = Path(root)
    file = _first(_places(root, split, kind=kind, names=[annotations or _ANNOTATIONS], exact=annotations is not None))
    if file is None:
        there = list_object_splits(root, kind=kind)
        known = did_you_mean(split, there) if there else f"there is no annotations/{kind}_*.json at all"
        raise DataError(f'{root}: no {kind} of split "{split}"; {known}')
    names = list(_IMAGES) if images is None else [images]
    folder = _first(_places(root, split, kind=kind, names=names, exact=images is not None), folder=True)
    if folder is None:
        raise DataError(
            f'{root}: no folder of images for split "{split}"; expected one of '
            f"{', '.join(name.replace('{split}', split) for name in names)}"
        )
    return ObjectFiles(file, folder)


def list_object_splits(root: Path | str, *, kind: Annotated) -> list[str]:
    """The splits with a JSON file of this kind in ``annotations``, sorted."""
    return sorted(path.stem.removeprefix(f"{kind}_") for path in Path(root).glob(f"annotations/{kind}_*.json"))


def object_kinds(root: Path | str) -> list[Annotated]:
    """Which files of objects ``root`` has: ``instances``, ``panoptic``, both or none."""
    kinds: tuple[Annotated, ...] = ("instances", "panoptic")
    return [kind for kind in kinds if list_object_splits(root, kind=kind)]


def _places(root: Path, split: str, *, kind: str, names: list[str], exact: bool) -> Iterator[Path]:
    for year in ("",) if exact else _YEARS:
        for name in names:
            try:
                yield root / name.format(split=split + year, kind=kind)
            except (KeyError, IndexError, ValueError) as error:
                raise ConfigError(f'"{name}": braces may hold nothing but split, as in {{split}}') from error


def _first(places: Iterator[Path], *, folder: bool = False) -> Path | None:
    return next((place for place in places if (place.is_dir() if folder else place.is_file())), None)
