"""PASCAL VOC 2012: ``JPEGImages``, ``SegmentationClass`` and lists in ``ImageSets/Segmentation``; 21 classes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from featalign.data.colors import load_colors
from featalign.data.labels import LabelMap
from featalign.data.layouts.base import Labels, Layout, Option, Settings
from featalign.data.layouts.table import class_table
from featalign.data.pairs import Split, endings, pair_listed
from featalign.data.sources import Tree
from featalign.errors import DataError

_BORDER = (224, 224, 192)
"""The colour of VOC's 255."""

BASES = ("VOCdevkit/VOC2012", "VOC2012", "VOCdevkit/VOC2010", "VOC2010", "VOCdevkit")


def listed_splits(tree: Tree, folder: str) -> list[str]:
    """The lists of names in ``folder``, train and val first. Raises DataError if there is none."""
    found = {file.stem for file in tree.files(folder) if file.suffix == ".txt"}
    if not found:
        raise DataError(f"{tree.path(folder)}: holds no list of names such as train.txt, one name a line")
    order = ("train", "val", "trainval", "test")
    return [*(name for name in order if name in found), *sorted(found - set(order))]


def read_names(tree: Tree, file: str) -> list[str]:
    """The first word of each line, without a folder or a suffix."""
    words = (line.split() for line in tree.read_text(file).splitlines())
    return [line[0].rpartition("/")[2].removesuffix(".jpg") for line in words if line]


def _splits(tree: Tree, settings: Settings) -> list[str]:
    return listed_splits(tree, "ImageSets/Segmentation")


def _scan(tree: Tree, split: str, settings: Settings) -> Split:
    return pair_listed(
        split,
        read_names(tree, f"ImageSets/Segmentation/{split}.txt"),
        endings(tree.files("JPEGImages"), ".jpg"),
        endings(tree.files(settings["masks"]), ".png"),
    )


def _labels(tree: Tree, settings: Settings) -> Labels:
    table = class_table("voc")
    labels = LabelMap(table.classes, table.ids, table.ignored, "VOC's values", _cure)
    if settings["colors"]:
        return Labels(labels, partial(load_colors, colors=table.classes.colors, ignored=(_BORDER,)))
    return Labels(labels)


def _cure(counts: Mapping[int, int]) -> str:
    return (
        "if these are grey values of colours, convert the masks back to palette PNG or read RGB with --layout-option "
        "colors=true; numbers of objects are in SegmentationObject, classes in SegmentationClass"
    )


VOC = Layout(
    name="voc",
    title="PASCAL VOC 2012",
    expects="JPEGImages/NAME.jpg, SegmentationClass/NAME.png and ImageSets/Segmentation/{train,val,…}.txt",
    recognize=lambda tree: tree.has("JPEGImages") and tree.has("ImageSets/Segmentation"),
    splits=_splits,
    scan=_scan,
    labels=_labels,
    options={
        "masks": Option("SegmentationClass", "Folder of the masks, such as SegmentationClassAug."),
        "colors": Option(False, "Masks are RGB in VOC's colours.", (False, True)),
    },
    bases=BASES,
)
