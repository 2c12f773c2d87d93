"""COCO-Stuff, 10K (MATLAB files) and 164K (PNG): 182 numbers, of which COCO never annotated 11.

Two conventions are published: all 182 are classes (as FaPN counts), or the 171 that occur, numbered without gaps.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from featalign.data.labels import LabelMap, identity
from featalign.data.layouts.base import Labels, Layout, Option, Settings
from featalign.data.layouts.table import ClassTable, class_table
from featalign.data.layouts.voc import listed_splits, read_names
from featalign.data.matlab import load_mat
from featalign.data.pairs import IMAGE_SUFFIXES, MASK_SUFFIXES, Split, by_stem, endings, pair_files, pair_listed
from featalign.data.sources import Tree

_FOLDERS = {"train": "train2017", "val": "val2017"}
_TRAIN_IDS = "_labelTrainIds"


def _table(classes: int) -> ClassTable:
    table = class_table("coco_stuff")
    return table if classes == 182 else table.keep([row["id"] for row in table.rows if not row.get("absent")])


def _labels_10k(tree: Tree, settings: Settings) -> Labels:
    table = _table(settings["classes"])
    return Labels(
        LabelMap(table.classes, table.ids, frozenset({0}), "values of S", _cure_10k), partial(load_mat, variable="S")
    )


def _cure_10k(counts: Mapping[int, int]) -> str:
    return (
        "S holds 0 = unlabelled and 1 … 182; the numbers of the 11 classes that COCO never annotated are known with "
        "--layout-option classes=182 alone"
    )


def _scan_10k(tree: Tree, split: str, settings: Settings) -> Split:
    return pair_listed(
        split,
        read_names(tree, f"imageLists/{split}.txt"),
        endings(tree.files("images"), ".jpg"),
        endings(tree.files("annotations"), ".mat"),
    )


def _splits_164k(tree: Tree, settings: Settings) -> list[str]:
    return [s for s, folder in _FOLDERS.items() if tree.has(f"images/{folder}") and tree.has(f"annotations/{folder}")]


def _scan_164k(tree: Tree, split: str, settings: Settings) -> Split:
    images, findings = by_stem(tree, f"images/{_FOLDERS[split]}", split, IMAGE_SUFFIXES)
    masks, about_masks = by_stem(tree, f"annotations/{_FOLDERS[split]}", split, MASK_SUFFIXES)
    renumbered = {name.removesuffix(_TRAIN_IDS): file for name, file in masks.items() if name.endswith(_TRAIN_IDS)}
    published = {name: file for name, file in masks.items() if not name.endswith(_TRAIN_IDS)}
    wanted = renumbered if settings["labels"] == "renumbered" and renumbered else published
    return pair_files(split, images, wanted, findings + about_masks)


def _labels_164k(tree: Tree, settings: Settings) -> Labels:
    if settings["labels"] == "renumbered":
        plain = identity(_table(171).classes)
        return Labels(LabelMap(plain.classes, plain.ids, plain.ignored, "renumbered labels", _cure_renumbered))
    table = _table(settings["classes"])
    ids = {value - 1: i for value, i in table.ids.items()}
    return Labels(LabelMap(table.classes, ids, frozenset({255}), "PNG values", _cure_164k))


def _cure_164k(counts: Mapping[int, int]) -> str:
    absent = {row["stored"] - 1 for row in class_table("coco_stuff").rows if row.get("absent")}
    if 182 in counts:
        return "these count from 1: subtract 1 from each, 0 = unlabelled becomes 255, as the published PNG have it"
    if set(counts) & absent and max(value for value in counts if value != 255) <= 170:
        return (
            "COCO never used some of these: masks renumbered to 0 … 170 are read with --layout-option labels=renumbered"
        )
    return (
        "published PNG hold COCO's number minus 1 (0 … 181), 255 = unlabelled; --layout-option classes=182 takes them "
        "all"
    )


def _cure_renumbered(counts: Mapping[int, int]) -> str:
    return "0 … 181 are the PNG as published: read them with --layout-option labels=published"


COCO_STUFF_10K = Layout(
    name="coco_stuff10k",
    title="COCO-Stuff 10K",
    expects="images/NAME.jpg, annotations/NAME.mat (matrix S) and imageLists/{train,test}.txt",
    recognize=lambda tree: tree.has("imageLists") and tree.has("annotations"),
    splits=lambda tree, settings: listed_splits(tree, "imageLists"),
    scan=_scan_10k,
    labels=_labels_10k,
    options={"classes": Option(182, "All numbers, or the 171 that COCO annotated.", (182, 171))},
    bases=("dataset",),
)

COCO_STUFF_164K = Layout(
    name="coco_stuff164k",
    title="COCO-Stuff 164K",
    expects="images/{train2017,val2017}/*.jpg and annotations/{train2017,val2017}/*.png",
    recognize=lambda tree: bool(_splits_164k(tree, {})),
    splits=_splits_164k,
    scan=_scan_164k,
    labels=_labels_164k,
    options={
        "classes": Option(171, "The classes that COCO annotated, or all 182 numbers.", (171, 182)),
        "labels": Option(
            "published",
            "COCO's number minus 1; or renumbered: 0 … 170 (*_labelTrainIds.png).",
            ("published", "renumbered"),
        ),
    },
    bases=("dataset",),
)
