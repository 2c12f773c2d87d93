"""Where the files of a data set of objects lie: COCO's own folders, and folders of that form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from featalign.data.objects.coco import load_json
from featalign.errors import ConfigError, DataError, did_you_mean

AnnotationKind = Literal["instances", "panoptic"]

_IMAGES = ("{split}/images", "images/{split}", "{split}", "images")
_YEARS = ("", "2017", "2014")
_READERS: dict[AnnotationKind, str] = {"instances": "detectors", "panoptic": "panoptic networks"}


@dataclass(frozen=True)
class ObjectFiles:
    """The JSON file of a split, and the folder of its images."""

    annotations: Path
    images: Path


def find_objects(
    root: Path | str, split: str, *, kind: AnnotationKind, annotations: str | None = None, images: str | None = None
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
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise DataError(f"{root}: {found}; expected the folder of the data set, unpacked")
    named = annotations or f"annotations/{kind}_{{split}}.json"
    file = _first(_places(root, split, names=[named], exact=annotations is not None))
    if file is None:
        there = list_object_splits(root, kind=kind)
        known = did_you_mean(split, there) if there else f"there is no annotations/{kind}_*.json at all"
        if not there and annotations is None:
            if others := [one for one in object_kinds(root) if one != kind]:
                known += f", but {others[0]}_*.json, which {_READERS[others[0]]} read"
            elif kind == "panoptic":  # which are made of masks, too
                known += "; how masks must lie to be read instead, `featalign check-data` says"
        raise DataError(f'{root}: no {kind} file of split "{split}"; {known}')
    names = list(_IMAGES) if images is None else [images]
    folder = _first(_places(root, split, names=names, exact=images is not None), folder=True)
    if folder is None:
        raise DataError(
            f'{root}: no folder of images for split "{split}"; expected one of '
            f"{', '.join(name.replace('{split}', split) for name in names)}"
        )
    return ObjectFiles(file, folder)


def list_object_splits(root: Path | str, *, kind: AnnotationKind, annotations: str | None = None) -> list[str]:
    """The splits with a JSON file of this kind, sorted.

    Args:
        root: of the data set.
        kind: ``instances`` or ``panoptic``.
        annotations: the path under ``root`` of files of one's own, as in :func:`find_objects`. These are opened, as
            their names need not tell the kind. A path without ``{split}`` is one split, ``all``.

    Raises:
        DataError: if a file of one's own is not JSON.
        ConfigError: if ``annotations`` is not under ``root``.
    """
    if annotations is None:
        return sorted(path.stem.removeprefix(f"{kind}_") for path in Path(root).glob(f"annotations/{kind}_*.json"))
    if Path(annotations).is_absolute():
        raise ConfigError(f"annotations must be a path under {root}, got {annotations}")
    known = re.escape(annotations).replace(r"\{split\}", "(?P<split>[^/]+)", 1)
    named = re.compile(known.replace(r"\{split\}", "(?P=split)"))
    return sorted(
        match.groupdict().get("split", "all")
        for path in Path(root).glob(annotations.replace("{split}", "*"))
        if (match := named.fullmatch(path.relative_to(root).as_posix())) and _kind(path) == kind
    )


def object_kinds(root: Path | str, *, annotations: str | None = None) -> list[AnnotationKind]:
    """Which files of objects ``root`` has: ``instances``, ``panoptic``, both or none; as :func:`list_object_splits`."""
    kinds: tuple[AnnotationKind, ...] = ("instances", "panoptic")
    return [kind for kind in kinds if list_object_splits(root, kind=kind, annotations=annotations)]


def _kind(path: Path) -> AnnotationKind:
    """By what the file holds; what is no such file at all is told by the one that reads it. Raises DataError."""
    content = load_json(path)
    rows = content.get("annotations") if isinstance(content, dict) else None
    panoptic = isinstance(rows, list) and any(isinstance(row, dict) and "segments_info" in row for row in rows)
    return "panoptic" if panoptic else "instances"


def of_split(name: str, split: str) -> str:
    """The path ``name`` with the split where it says ``{split}``. Raises ConfigError for any other braces."""
    try:
        return name.format(split=split)
    except (AttributeError, KeyError, IndexError, ValueError) as error:
        raise ConfigError(f'"{name}": braces may hold nothing but split, as in {{split}}') from error


def _places(root: Path, split: str, *, names: list[str], exact: bool) -> Iterator[Path]:
    for year in ("",) if exact else _YEARS:
        yield from (root / of_split(name, split + year) for name in names)


def _first(places: Iterator[Path], *, folder: bool = False) -> Path | None:
    return next((place for place in places if (place.is_dir() if folder else place.is_file())), None)
