"""Any folders of one's own, named by patterns such as ``images/{split}/{name}.jpg``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from featalign.data.files import File
from featalign.data.findings import Finding
from featalign.data.layouts.base import Labels, Layout, Option, Settings
from featalign.data.layouts.folder import FOLDER, folder_labels
from featalign.data.pairs import Split, composed, pair_files
from featalign.data.sources import Tree
from featalign.errors import ConfigError


def _splits(tree: Tree, settings: Settings) -> list[str]:
    """The folders that stand for ``{split}`` in both patterns."""
    found = [_split_names(tree, _pattern(settings, part)) for part in ("images", "masks")]
    return sorted(found[0] & found[1])


def _split_names(tree: Tree, pattern: str) -> set[str]:
    before, found, after = pattern.partition("{split}")
    if not found:
        return {"all"}
    folder, _, prefix = before.rpartition("/")
    ending = after.partition("/")[0]
    names = (name for name in tree.folders(folder) if name.startswith(prefix) and name.endswith(ending))
    return {name[len(prefix) : len(name) - len(ending)] for name in names}


def _labels(tree: Tree, settings: Settings) -> Labels:
    for part in ("images", "masks"):
        _pattern(settings, part)  # their absence explains more than that of classes.json
    return folder_labels(tree, settings)


def _scan(tree: Tree, split: str, settings: Settings) -> Split:
    images = dict(_matching(tree, _pattern(settings, "images"), split))
    masks = dict(_matching(tree, _pattern(settings, "masks"), split))
    if not images.keys() & masks.keys():
        images, masks = _numbered(images) or images, _numbered(masks) or masks
    scanned = pair_files(split, images, masks)
    if images:
        return scanned
    nothing = Finding("error", split, None, f"no file is named {_pattern(settings, 'images')}")
    return replace(scanned, findings=(nothing, *scanned.findings))


def _numbered(files: dict[str, File]) -> dict[str, File] | None:
    """By number where names are numbers, so that 7 finds 007; None where they are not, or one number stands twice."""
    if not all(name.isdigit() for name in files):
        return None
    found = {str(int(name)): file for name, file in files.items()}
    return found if len(found) == len(files) else None


def _matching(tree: Tree, pattern: str, split: str) -> Iterator[tuple[str, File]]:
    """Files of the pattern by what stands for ``{name}``."""
    path = PurePosixPath(pattern.replace("{split}", split))
    before, _, after = path.name.partition("{name}")
    expression = re.compile(f"{re.escape(before)}(?P<name>.+){re.escape(after)}")
    for file in tree.files("" if str(path.parent) == "." else str(path.parent)):
        if match := expression.fullmatch(file.name):
            yield composed(match["name"]), file


def _pattern(settings: Settings, part: str) -> str:
    pattern: Any = settings[part]
    if not isinstance(pattern, str) or PurePosixPath(pattern).name.count("{name}") != 1:
        example = f"{part}/{{split}}/{{name}}.png"
        raise ConfigError(
            f"option {part} of layout patterns must be a path whose last part has {{name}}, such as {example}, "
            f"got {pattern!r}"
        )
    return pattern


PATTERNS = Layout(
    name="patterns",
    title="folders of one's own, by pattern",
    expects='--layout-option images="DIR/{split}/{name}.jpg", masks="DIR/{split}/{name}.png" alike, and classes.json',
    recognize=lambda tree: False,
    splits=_splits,
    scan=_scan,
    labels=_labels,
    options={
        "images": Option(None, "Where images are: a path with {name} and, for more than one split, {split}."),
        "masks": Option(None, "Where masks are."),
        **FOLDER.options,
    },
)
