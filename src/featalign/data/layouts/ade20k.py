"""ADE20K SceneParsing: ``images`` and ``annotations``, each with ``training`` and ``validation``; 150 classes."""

from __future__ import annotations

from collections.abc import Mapping

from featalign.data.labels import LabelMap, identity
from featalign.data.layouts.base import Labels, Layout, Option, Settings
from featalign.data.layouts.table import class_table
from featalign.data.pairs import IMAGE_SUFFIXES, MASK_SUFFIXES, Split, by_stem, pair_files
from featalign.data.sources import Tree

_FOLDERS = {"train": "training", "val": "validation"}


def _splits(tree: Tree, settings: Settings) -> list[str]:
    return [s for s, folder in _FOLDERS.items() if tree.has(f"images/{folder}") and tree.has(f"annotations/{folder}")]


def _scan(tree: Tree, split: str, settings: Settings) -> Split:
    images, findings = by_stem(tree, f"images/{_FOLDERS[split]}", split, IMAGE_SUFFIXES)
    masks, about_masks = by_stem(tree, f"annotations/{_FOLDERS[split]}", split, MASK_SUFFIXES)
    return pair_files(split, images, masks, findings + about_masks)


def _labels(tree: Tree, settings: Settings) -> Labels:
    table = class_table("ade20k")
    if settings["labels"] == "reduced":
        reduced = identity(table.classes)
        return Labels(LabelMap(table.classes, reduced.ids, reduced.ignored, "reduced labels", _cure_reduced))
    return Labels(LabelMap(table.classes, table.ids, table.ignored, "annotation values", _cure))


def _cure(counts: Mapping[int, int]) -> str:
    if max(counts) == 255 and set(counts) <= {*range(150), 255}:
        return "1 was subtracted already (0 … 149, 255 = other): read them with --layout-option labels=reduced"
    return "SceneParsing has 150 classes; masks of the full ADE20K have other numbers: use ADEChallengeData2016"


def _cure_reduced(counts: Mapping[int, int]) -> str:
    return "0 … 150 are the masks as published: read them with --layout-option labels=published"


ADE20K = Layout(
    name="ade20k",
    title="ADE20K SceneParsing",
    expects="images/{training,validation}/*.jpg and annotations/{training,validation}/*.png (ADEChallengeData2016)",
    recognize=lambda tree: bool(_splits(tree, {})),
    splits=_splits,
    scan=_scan,
    labels=_labels,
    options={
        "labels": Option(
            "published", "0 = other and 1 … 150, or reduced: 0 … 149 and 255 = other.", ("published", "reduced")
        )
    },
    bases=("ADEChallengeData2016",),
)
