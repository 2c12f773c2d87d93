"""What a layout is: how a data set lies on disk, which splits and options it has, and what its masks mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from featalign.data.files import File
from featalign.data.images import Loaded, load_mask
from featalign.data.labels import LabelMap
from featalign.data.pairs import Split
from featalign.data.sources import Tree
from featalign.errors import ConfigError, did_you_mean
from featalign.spec import Classes

Settings = Mapping[str, Any]
"""Every option of a layout, with its value."""

MaskReader = Callable[[File, int], Loaded]
"""A mask file and the largest number of pixels allowed, to the values stored."""


@dataclass(frozen=True)
class Option:
    """One choice that a layout leaves open. ``choices``: all there are; None: whatever the layout accepts."""

    default: Any
    help: str
    choices: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Instances:
    """How files of instances are read.

    Attributes:
        classes: ids of the classes whose objects are told apart.
        first: smallest value of a file that is one object; below are classes and groups of objects.
    """

    classes: tuple[int, ...]
    first: int


@dataclass(frozen=True)
class Labels:
    """How mask files are read and what their values mean.

    Attributes:
        map: stored value to class id.
        read: from a file to stored values.
        categories: the group of each class, where the benchmark scores these too; else empty.
        instances: what the pairs' files of instances mean, where a layout has any.
    """

    map: LabelMap
    read: MaskReader = load_mask
    categories: tuple[str, ...] = ()
    instances: Instances | None = None

    @property
    def classes(self) -> Classes:
        """What the class ids mean."""
        return self.map.classes


@dataclass(frozen=True)
class Layout:
    """A way for a data set to lie on disk.

    Attributes:
        name: how it is asked for.
        title: the benchmark's name.
        expects: its folders in one line.
        recognize: whether a folder has it.
        splits: the names of the splits that are there, train, val and test where the benchmark has them.
        scan: the pairs of one of these splits.
        labels: how its masks are read.
        options: what else can be chosen.
        bases: folders inside the root that it may start at, as archives and kits unpack into one.
        suspect: what only the values of a whole split can show to be wrong, from its ``{value: pixels}``.
    """

    name: str
    title: str
    expects: str
    recognize: Callable[[Tree], bool]
    splits: Callable[[Tree, Settings], list[str]]
    scan: Callable[[Tree, str, Settings], Split]
    labels: Callable[[Tree, Settings], Labels]
    options: Mapping[str, Option] = field(default_factory=dict)
    bases: tuple[str, ...] = ()
    suspect: Callable[[Mapping[int, int], Settings], str | None] = lambda counts, settings: None

    def settings(self, given: Mapping[str, Any] | None) -> Settings:
        """``given`` with the defaults of the rest. Raises ConfigError for an unknown option or value."""
        given = given or {}
        for name, value in given.items():
            if name not in self.options:
                hint = did_you_mean(name, self.options) if self.options else "it has no options"
                raise ConfigError(f'layout {self.name} has no option "{name}"; {hint}')
            choices = self.options[name].choices
            if choices is not None and value not in choices:
                raise ConfigError(
                    f"option {name} of layout {self.name} must be {' or '.join(map(str, choices))}, got {value!r}"
                )
        return {name: given.get(name, option.default) for name, option in self.options.items()}
