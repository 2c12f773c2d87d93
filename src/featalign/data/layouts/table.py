"""The classes of a benchmark as its data file beside this one tells them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from featalign.errors import ConfigError, did_you_mean
from featalign.spec import Classes

_FOLDER = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class ClassTable:
    """What a benchmark publishes about its classes, by class id.

    Attributes:
        classes: names and colours.
        stored: the value of each class in the benchmark's own files.
        categories: the group of each class; empty texts where the benchmark has none.
        has_instances: whether single objects of the class are told apart.
        content: the whole file, for what one benchmark alone has.
    """

    classes: Classes
    stored: tuple[int, ...]
    categories: tuple[str, ...]
    has_instances: tuple[bool, ...]
    content: dict[str, Any]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The classes' entries."""
        return self.content["classes"]

    @property
    def ids(self) -> dict[int, int]:
        """Class id by the value in the benchmark's files."""
        return {value: i for i, value in enumerate(self.stored)}

    @property
    def ignored(self) -> frozenset[int]:
        """Values of the benchmark's files that are no class."""
        return frozenset(map(int, self.content["ignored"]))

    def keep(self, ids: list[int]) -> ClassTable:
        """These classes alone, numbered anew."""
        rows = [{**self.rows[old], "id": new} for new, old in enumerate(ids)]
        return _from_content({**self.content, "classes": rows})


@lru_cache
def class_table(name: str) -> ClassTable:
    """The table of ``cityscapes``, ``ade20k``, ``voc``, ``pascal_context``, ``coco_stuff`` or ``camvid``.

    Raises:
        ConfigError: if there is no such table.
    """
    known = {file.stem: file for file in _FOLDER.glob("*.json")}
    if name not in known:
        raise ConfigError(f'no class table "{name}"; {did_you_mean(name, known)}')
    return _from_content(json.loads(known[name].read_text(encoding="utf-8")))


def _from_content(content: dict[str, Any]) -> ClassTable:
    rows = content["classes"]
    return ClassTable(
        Classes.from_json(content | {"ignore_index": 255}),
        tuple(row["stored"] for row in rows),
        tuple(row.get("category", "") for row in rows),
        tuple(row.get("instances", False) for row in rows),
        content,
    )
