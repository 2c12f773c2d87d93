"""PASCAL-Context on VOC 2010: 59 classes, or 60 with the background; as PNG, MATLAB or annotation file.

The masks may be ``SegmentationClassContext/NAME.png`` (0 = background, 1 … 59), the first release's MATLAB files
(matrix ``LabelMap`` of 459 labels), or ``trainval_merged.json`` of PASCAL in Detail (the same numbers); of the 459, 59
are classes and all others are background.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from featalign.data.detail import detail_images, load_detail
from featalign.data.files import Entry, File, Member
from featalign.data.findings import Finding
from featalign.data.labels import LabelMap
from featalign.data.layouts.base import Labels, Layout, Option, Settings
from featalign.data.layouts.table import ClassTable, class_table
from featalign.data.layouts.voc import BASES, listed_splits, read_names
from featalign.data.matlab import load_mat
from featalign.data.pairs import Split, endings, pair_listed
from featalign.data.sources import Tree
from featalign.errors import DataError
from featalign.spec import Classes

_PNG = "SegmentationClassContext"
_MATLAB = "trainval"
_JSON = "trainval_merged.json"
_LISTS = ("ImageSets/SegmentationContext", "ImageSets/Main")
_LABELS = 459


def _source(tree: Tree, settings: Settings) -> str:
    """Which of the three is read: as asked, or the first that is there."""
    there = {"png": tree.has(_PNG), "mat": tree.has(_MATLAB), "json": tree.file(_JSON) is not None}
    asked = settings.get("annotations", "auto")
    if asked != "auto" and there[asked]:
        return str(asked)
    found = next((name for name, exists in there.items() if exists), None)
    if asked != "auto" or found is None:
        wanted = {"png": f"{_PNG}/NAME.png", "mat": f"{_MATLAB}/NAME.mat", "json": _JSON}
        expected = wanted[asked] if asked != "auto" else " or ".join(wanted.values())
        raise DataError(f"{tree.root}: no annotations; expected {expected}")
    return found


def _recognize(tree: Tree) -> bool:
    return tree.has("JPEGImages") and (tree.has(_PNG) or tree.has(_MATLAB) or tree.file(_JSON) is not None)


def _splits(tree: Tree, settings: Settings) -> list[str]:
    if _source(tree, settings) == "json":
        return sorted({image.phase for image in detail_images(_annotation_file(tree)).values()} & {"train", "val"})
    return listed_splits(tree, _lists(tree))


def _lists(tree: Tree) -> str:
    return next((folder for folder in _LISTS if tree.has(folder)), _LISTS[0])


def _scan(tree: Tree, split: str, settings: Settings) -> Split:
    source = _source(tree, settings)
    if source == "json":
        return _scan_json(tree, split)
    masks = endings(tree.files(_PNG), ".png") if source == "png" else endings(tree.files(_MATLAB), ".mat")
    names = read_names(tree, f"{_lists(tree)}/{split}.txt")
    if _lists(tree) == "ImageSets/Main":  # VOC's own lists, which also name images without context
        names = [name for name in names if name in masks]
    return pair_listed(split, names, _images(tree), masks)


def _scan_json(tree: Tree, split: str) -> Split:
    file = _annotation_file(tree)
    named = {name: image for name, image in detail_images(file).items() if image.phase == split}
    scanned = pair_listed(split, sorted(named), _images(tree), {name: Entry(file, name) for name in named})
    empty = [name for name, image in named.items() if not image.regions]
    note = Finding("note", split, None, f"{len(empty)} images have no region (first: {empty[0]})") if empty else None
    return replace(scanned, findings=(*scanned.findings, *([note] if note else [])))


def _images(tree: Tree) -> dict[str, File]:
    return endings(tree.files("JPEGImages"), ".jpg")


def _annotation_file(tree: Tree) -> Path | Member:
    file = tree.file(_JSON)
    if not isinstance(file, Path | Member):
        raise DataError(f"{tree.path(_JSON)}: does not exist")
    return file


def _labels(tree: Tree, settings: Settings) -> Labels:
    source = _source(tree, settings)
    table, background = class_table("pascal_context"), settings["classes"] == 60
    classes = _with_background(table) if background else table.classes
    numbers = table.stored if source == "png" else [row["original"] for row in table.rows]
    ids = {number: i + background for i, number in enumerate(numbers)}
    rest = {0} if source == "png" else set(range(_LABELS + 1)) - ids.keys()
    if background:
        ids |= dict.fromkeys(sorted(rest), 0)
    ignored = frozenset[int]() if background else frozenset(rest)
    if source == "png":
        return Labels(LabelMap(classes, ids, ignored, "PNG values", _cure_png))
    read = partial(load_mat, variable="LabelMap") if source == "mat" else load_detail
    return Labels(LabelMap(classes, ids, ignored, "label numbers", _cure_original), read)


def _with_background(table: ClassTable) -> Classes:
    return Classes(("background", *table.classes.names), ((0, 0, 0), *table.classes.colors))


def _cure_png(counts: Mapping[int, int]) -> str:
    if 255 in counts:
        return "255 does not occur in the published masks: if 1 was subtracted, add it again (255 becomes 0)"
    return "the PNG hold 0 … 59; numbers up to 459 are the first release's: put its .mat files into trainval/"


def _cure_original(counts: Mapping[int, int]) -> str:
    return "the first release counts 459 labels, 0 = none"


PASCAL_CONTEXT = Layout(
    name="pascal_context",
    title="PASCAL-Context",
    expects=f"JPEGImages/NAME.jpg, ImageSets/SegmentationContext/{{train,val}}.txt and {_PNG}/NAME.png "
    f"(or {_MATLAB}/NAME.mat, or {_JSON})",
    recognize=_recognize,
    splits=_splits,
    scan=_scan,
    labels=_labels,
    options={
        "classes": Option(59, "59, the rest ignored; or 60, the rest being class 0, background.", (59, 60)),
        "annotations": Option("auto", "Which of the three forms is read.", ("auto", "png", "mat", "json")),
    },
    bases=BASES,
)
