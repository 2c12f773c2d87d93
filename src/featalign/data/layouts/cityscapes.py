"""Cityscapes: ``leftImg8bit/SPLIT/CITY`` beside ``gtFine`` or ``gtCoarse``; 34 labelIds, of which 19 are trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from featalign.data.files import File
from featalign.data.findings import Finding
from featalign.data.labels import LabelMap, identity
from featalign.data.layouts.base import Instances, Labels, Layout, Option, Settings
from featalign.data.layouts.table import class_table
from featalign.data.pairs import Split, endings, pair_files
from featalign.data.sources import Tree
from featalign.errors import DataError

_SPLITS = ("train", "val", "test", "train_extra")
_FOLDERS = {"fine": "gtFine", "coarse": "gtCoarse"}
_ENDINGS = {"labelIds": "labelIds", "trainIds": "labelTrainIds"}


def _splits(tree: Tree, settings: Settings) -> list[str]:
    truth = _FOLDERS[settings["annotations"]]
    found = [name for name in _SPLITS if tree.has(f"leftImg8bit/{name}") and tree.has(f"{truth}/{name}")]
    if not found:
        raise DataError(
            f"{tree.root}: no split has both leftImg8bit/ and {truth}/; unpack {truth}_trainvaltest.zip beside "
            "leftImg8bit, or choose with --layout-option annotations=fine or coarse"
        )
    return found


def _scan(tree: Tree, split: str, settings: Settings) -> Split:
    truth = _FOLDERS[settings["annotations"]]
    ending = f"_{truth}_{_ENDINGS[settings['labels']]}.png"
    images = _by_city(tree, f"leftImg8bit/{split}", "_leftImg8bit.png")
    masks = _by_city(tree, f"{truth}/{split}", ending)
    if masks or not images:
        return _with_instances(
            pair_files(split, images, masks), _by_city(tree, f"{truth}/{split}", f"_{truth}_instanceIds.png")
        )
    cure = "; cityscapesScripts' createTrainIdLabelImgs makes them" if "TrainIds" in ending else ""
    lacks = Finding("error", split, tree.path(f"{truth}/{split}"), f"holds no *{ending}{cure}")
    return Split(split, (), (lacks,), held_out=True)


def _with_instances(found: Split, files: Mapping[str, File]) -> Split:
    """Files of instances are optional, but some alone would score some images alone."""
    missing = [pair for pair in found.pairs if pair.name not in files]
    if not missing:
        return replace(found, pairs=tuple(replace(pair, instances=files[pair.name]) for pair in found.pairs))
    if len(missing) == len(found.pairs):
        return found
    message = f"{len(missing)} of {len(found.pairs)} masks have no *_instanceIds.png beside them: iIoU is left out"
    return replace(found, findings=(*found.findings, Finding("note", found.name, missing[0].mask, message)))


def _by_city(tree: Tree, folder: str, ending: str) -> dict[str, File]:
    files = (file for city in tree.folders(folder) for file in tree.files(f"{folder}/{city}"))
    return endings(files, ending)


def _labels(tree: Tree, settings: Settings) -> Labels:
    table = class_table("cityscapes")
    if settings["labels"] == "trainIds":
        train_ids = identity(table.classes)
        labels = LabelMap(table.classes, train_ids.ids, train_ids.ignored, "trainIds", _cure_train_ids)
    else:
        labels = LabelMap(table.classes, table.ids, table.ignored, "labelIds", _cure_label_ids)
    apart = tuple(i for i, has in enumerate(table.has_instances) if has)
    return Labels(labels, categories=table.categories, instances=Instances(apart, first=1000))


def _cure_label_ids(counts: Mapping[int, int]) -> str:
    if set(counts) <= {*range(19), 255}:
        return (
            "these are trainIds (0 … 18, 255): read them with --layout-option labels=trainIds, or use the "
            "*_labelIds.png"
        )
    return "these are not Cityscapes' *_labelIds.png (*_instanceIds.png hold larger numbers)"


def _cure_train_ids(counts: Mapping[int, int]) -> str:
    return "these are labelIds (0 … 33): read them with --layout-option labels=labelIds"


def _suspect(counts: Mapping[int, int], settings: Settings) -> str | None:
    """Void 0 … 6, road, sidewalk and a few more are all that the two conventions share."""
    if settings["labels"] == "labelIds" and max(counts) <= 18 and not set(counts) <= set(range(7)):
        return (
            "no value above 18 in the whole split: these are trainIds, not labelIds (of which sky is 23, car 26); "
            "read them with --layout-option labels=trainIds"
        )
    return None


CITYSCAPES = Layout(
    name="cityscapes",
    title="Cityscapes",
    expects="leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_labelIds.png",
    recognize=lambda tree: tree.has("leftImg8bit"),
    splits=_splits,
    scan=_scan,
    labels=_labels,
    options={
        "annotations": Option("fine", "Which labels: gtFine, or gtCoarse with train_extra.", ("fine", "coarse")),
        "labels": Option("labelIds", "What the mask files hold.", ("labelIds", "trainIds")),
    },
    suspect=_suspect,
)
