"""A folder of one's own: ``ROOT/classes.json`` and, per split, ``images/`` and ``masks/`` whose files pair by stem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from featalign.data.colors import load_colors
from featalign.data.findings import Finding
from featalign.data.images import load_mask
from featalign.data.labels import LabelMap, identity
from featalign.data.layouts.base import Labels, Layout, Option, Settings
from featalign.data.pairs import IMAGE_SUFFIXES, MASK_SUFFIXES, Split, by_stem, listed, pair_files
from featalign.data.reading import naming
from featalign.data.sources import Tree
from featalign.errors import ConfigError, DataError
from featalign.spec import Classes

EXPECTED = "ROOT/classes.json, ROOT/SPLIT/images/NAME.jpg (or .png, …) and ROOT/SPLIT/masks/NAME.png"
_EXAMPLE = '{"classes": [{"id": 0, "name": "background"}, {"id": 1, "name": "object"}], "ignore_index": 255}'


def _recognize(tree: Tree) -> bool:
    splits = [name for name in tree.folders() if tree.has(f"{name}/images")]
    return bool(splits) and (tree.file("classes.json") is not None or any(tree.has(f"{s}/masks") for s in splits))


def _splits(tree: Tree, settings: Settings) -> list[str]:
    splits = [name for name in tree.folders() if tree.has(f"{name}/images")]
    if not splits:
        entries = [*tree.folders(), *(file.name for file in tree.files())]
        raise DataError(f"{tree.root}: has no split; expected {EXPECTED}; found: {listed(entries)}")
    return splits


def _scan(tree: Tree, split: str, settings: Settings) -> Split:
    images, findings = by_stem(tree, f"{split}/images", split, IMAGE_SUFFIXES)
    masks, about_masks = by_stem(tree, f"{split}/masks", split, MASK_SUFFIXES)
    findings += about_masks
    if not images:
        findings.append(Finding("error", split, tree.path(f"{split}/images"), "holds no image"))
    return pair_files(split, images, masks, findings)


def folder_labels(tree: Tree, settings: Settings) -> Labels:
    """The classes, and the options that say how stored values become ids."""
    classes = _classes(tree, settings["classes"])
    _check_distinct(tree, "name", classes.names)
    if settings["colors"]:
        _check_distinct(tree, "color", classes.colors)
        if others := [name for name in ("reduce_zero", "shift", "remap") if settings[name]]:
            raise ConfigError(f"option colors says what each class is; {', '.join(others)} is for masks of numbers")
        read = partial(load_colors, colors=classes.colors, ignored=((0, 0, 0),), ignore_index=classes.ignore_index)
        return Labels(identity(classes), read)
    return Labels(_remapped(identity(classes), settings), load_mask)


def _classes(tree: Tree, names: Any) -> Classes:
    """From the option ``classes``, or from the file."""
    if isinstance(names, int) and names > 0 and not isinstance(names, bool):
        return Classes.numbered(names)
    if isinstance(names, list | tuple) and names:
        return Classes.named([str(name) for name in names])
    if names is not None:
        raise ConfigError(f'option classes must be names, such as "[background, object]", or a number, got {names!r}')
    if (file := tree.file("classes.json")) is None:
        raise DataError(
            f"{tree.path('classes.json')}: does not exist; it names the mask values, for example: {_EXAMPLE}; "
            'or name them with --layout-option classes="[background, object]"'
        )
    with naming(file):
        content = file.read_bytes()
    return Classes.parse(content, source=str(file))


def _check_distinct(tree: Tree, what: str, values: Sequence[Any]) -> None:
    """Scores and weights are kept by name, and masks of colours read by colour: of two classes one would be lost."""
    first = next((value for value in values if values.count(value) > 1), None)
    if first is not None:
        ids = ", ".join(str(i) for i, value in enumerate(values) if value == first)
        raise DataError(f"{tree.root}: classes {ids} have the same {what}, {first}; give each its own")


def _remapped(labels: LabelMap, settings: Settings) -> LabelMap:
    """``labels`` after the options that say how stored values become ids."""
    shift, remap = _number(settings["shift"]), _pairs(settings["remap"])
    if settings["reduce_zero"]:
        if shift:
            raise ConfigError("reduce_zero is a shift of -1 with 0 ignored: give it or shift, not both")
        shift = -1
    if not shift and not remap:
        return labels
    ids = {new - shift: new for new in labels.ids if new >= shift}
    ignored = set(labels.ignored) | ({0} if settings["reduce_zero"] else set())
    for old, new in remap.items():
        ids.pop(old, None)
        ignored.discard(old)
        if new == labels.classes.ignore_index:
            ignored.add(old)
        elif new in labels.ids:
            ids[old] = new
        else:
            raise ConfigError(f"option remap: {old} -> {new}, but the classes are 0 … {len(labels.classes) - 1}")
    known = {value: new for value, new in ids.items() if value not in ignored}
    return replace(labels, ids=known, ignored=frozenset(ignored), convention="stored values", expected="")


def _number(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ConfigError(f"option shift must be a whole number, such as -1, got {value!r}")


def _pairs(value: Any) -> Mapping[int, int]:
    """Stored values may be text: recipes keep them so, as JSON does."""
    try:
        if isinstance(value, Mapping) and all(isinstance(new, int) for new in value.values()):
            return {int(old): new for old, new in value.items()}
    except ValueError:
        pass
    raise ConfigError(f'option remap must map stored values to class ids, such as "{{255: 1}}", got {value!r}')


FOLDER = Layout(
    name="folder",
    title="a folder of one's own",
    expects=EXPECTED,
    recognize=_recognize,
    splits=_splits,
    scan=_scan,
    labels=folder_labels,
    options={
        "classes": Option(None, "Names of the classes, or how many there are, in place of classes.json."),
        "reduce_zero": Option(False, "Stored 0 is ignored, stored 1 … N are the classes.", (False, True)),
        "shift": Option(0, "Added to every stored value but the ignore index, such as -1."),
        "remap": Option({}, "Class ids of single stored values, such as {255: 1}; goes before the shift."),
        "colors": Option(False, "Masks are RGB in the classes' colours; else black is ignored.", (False, True)),
    },
)
