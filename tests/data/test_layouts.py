"""Every layout on fabricated trees: as a directory, as a zip file, and with each of its options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fabricate import as_zip, fabricate
from PIL import Image

from featalign.data import check_data, class_table, detect_layout, list_layouts, list_splits, open_dataset
from featalign.errors import ConfigError, DataError

PATTERNS = {"images": "a/{split}/{name}_i.png", "masks": "b/{split}-m/{name}.png"}
CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("folder", {}, ["test", "train", "val"]),
    ("cityscapes", {}, ["train", "val"]),
    ("cityscapes", {"labels": "trainIds"}, ["train", "val"]),
    ("cityscapes", {"annotations": "coarse"}, ["train", "val", "train_extra"]),
    ("ade20k", {}, ["train", "val"]),
    ("ade20k", {"labels": "reduced"}, ["train", "val"]),
    ("voc", {}, ["train", "val"]),
    ("voc", {"colors": True}, ["train", "val"]),
    ("voc", {"masks": "SegmentationClassAug"}, ["train", "val"]),
    ("pascal_context", {}, ["train", "val"]),
    ("pascal_context", {"classes": 60}, ["train", "val"]),
    ("pascal_context", {"annotations": "mat"}, ["train", "val"]),
    ("pascal_context", {"annotations": "json"}, ["train", "val"]),
    ("pascal_context", {"annotations": "json", "classes": 60}, ["train", "val"]),
    ("coco_stuff10k", {}, ["train", "test"]),
    ("coco_stuff10k", {"classes": 171}, ["train", "test"]),
    ("coco_stuff164k", {}, ["train", "val"]),
    ("coco_stuff164k", {"classes": 182}, ["train", "val"]),
    ("coco_stuff164k", {"labels": "renumbered"}, ["train", "val"]),
    ("camvid", {}, ["train", "val", "test"]),
    ("patterns", PATTERNS, ["train", "val"]),
]
COUNTS = {"cityscapes": 19, "ade20k": 150, "voc": 21, "camvid": 11, "folder": 3, "patterns": 3}


@pytest.fixture(autouse=True)
def scipy() -> None:
    pytest.importorskip("scipy", reason="writes and reads .mat files")


@pytest.mark.parametrize(("layout", "options", "splits"), CASES, ids=lambda case: str(case)[:40])
def test_directory_and_zip_give_the_same(
    tmp_path: Path, layout: str, options: dict[str, Any], splits: list[str]
) -> None:
    root = fabricate(layout, tmp_path / "set", options=options, size=(20, 24))
    asked = {"layout": layout if layout == "patterns" else "auto", "options": options}
    found = []
    for place in (root, as_zip(root, tmp_path / "set.zip")):
        assert layout == "patterns" or detect_layout(place) == layout
        assert list_splits(place, **asked) == splits
        report = check_data(place, **asked)
        assert report.ok and report.layout == layout, report.errors
        found.append([sample for split in splits for sample in open_dataset(place, split, **asked)])
    assert len(found[0]) == len(found[1]) == 2 * len(splits)
    for a, b in zip(*found, strict=True):
        assert a["name"] == b["name"] and torch.equal(a["image"], b["image"]) and torch.equal(a["mask"], b["mask"])
    classes = open_dataset(root, splits[0], **asked).classes
    assert len(classes) == len(set(classes.names)) == COUNTS.get(layout, options.get("classes", len(classes)))


def ids_of(root: Path, **options: Any) -> list[list[int]]:
    """The ids of each mask of the first split, in the order of first sight along a row."""
    dataset = open_dataset(root, list_splits(root, options=options)[0], options=options)
    return [list(dict.fromkeys(sample["mask"][5].tolist())) for sample in dataset]


def test_remaps_are_the_published_ones(tmp_path: Path) -> None:
    """Bands of the values that ``fabricate`` writes, told by what the benchmarks say of them."""
    city = fabricate("cityscapes", tmp_path / "city")
    assert ids_of(city)[0] == [255, 0, 2, 10, 13] == ids_of(city, labels="trainIds")[0]  # 7, 11, 23, 26
    assert ids_of(fabricate("ade20k", tmp_path / "ade"))[0] == [255, 0, 2, 4, 149]  # 1, 3, 5, 150
    context = fabricate("pascal_context", tmp_path / "png")
    assert ids_of(context)[0] == [255, 0, 40, 46, 58]
    assert ids_of(context, classes=60)[0] == [0, 1, 41, 47, 59]
    for form in ("mat", "json"):
        same = fabricate("pascal_context", tmp_path / form, options={"annotations": form})
        assert ids_of(same) == ids_of(context) and ids_of(same, classes=60) == ids_of(context, classes=60)
    stuff = fabricate("coco_stuff10k", tmp_path / "10k")
    assert ids_of(stuff)[0] == [255, 0, 18, 124, 181] and ids_of(stuff, classes=171)[0] == [255, 0, 17, 113, 170]
    stuff = fabricate("coco_stuff164k", tmp_path / "164k")
    assert ids_of(stuff)[0] == [255, 0, 17, 113, 170] and ids_of(stuff, classes=182)[0] == [255, 0, 18, 124, 181]
    assert ids_of(fabricate("camvid", tmp_path / "camvid"))[0] == [255, 0, 1, 3, 10]


def test_tables_hold_what_is_known() -> None:
    city = class_table("cityscapes")
    assert city.stored[:3] == (7, 8, 11) and city.ids[33] == 18 and city.classes.colors[0] == (128, 64, 128)
    assert sum(city.has_instances) == 8 and city.categories[11] == "human"
    assert class_table("ade20k").classes.names[:3] == ("wall", "building", "sky")
    assert class_table("ade20k").classes.colors[149] == (92, 0, 255)
    assert class_table("voc").classes.colors[15] == (192, 128, 128)
    assert class_table("pascal_context").rows[6]["original"] == 25 and len(class_table("pascal_context").rows) == 59
    stuff = class_table("coco_stuff")
    assert len(stuff.rows) == 182 and sum(1 for row in stuff.rows if row.get("absent")) == 11
    assert stuff.classes.names[123] == "grass" and not stuff.has_instances[123] and stuff.has_instances[0]
    camvid = class_table("camvid")
    colors = [tuple(color) for row in camvid.rows for color in row["colors"].values()]
    assert len({*colors, *map(tuple, camvid.content["ignored_colors"].values())}) == 32
    with pytest.raises(ConfigError, match='no class table "cityscape"; did you mean "cityscapes"'):
        class_table("cityscape")


def test_camvid_as_first_released(tmp_path: Path) -> None:
    names = {"train": "0001TP_006690", "val": "0016E5_07959", "test": "0001TP_008550"}
    splits = class_table("camvid").content["splits"]
    assert {s: sum(len(f.split()) for f in q.values()) for s, q in splits.items()} == {
        "train": 367,
        "val": 101,
        "test": 233,
    }
    frames, masks = tmp_path / "701_StillsRaw_full", tmp_path / "LabeledApproved_full"
    frames.mkdir()
    masks.mkdir()
    mask = np.zeros((4, 6, 3), np.uint8)
    mask[0], mask[1], mask[2] = (128, 0, 192), (64, 192, 0), (64, 128, 64)  # lane marking, wall, animal
    for sequence, numbers in splits["train"].items():
        for number in numbers.split():
            Image.new("RGB", (6, 4)).save(frames / f"{sequence}_{number}.png")
            Image.fromarray(mask).save(masks / f"{sequence}_{number}_L.png")
    dataset = open_dataset(tmp_path, "train")
    assert len(dataset) == 367 and dataset.samples[0].name == names["train"]
    assert dataset[0]["mask"][:, 0].tolist() == [3, 1, 255, 255]
    with pytest.raises(DataError, match=f"{names['test']} is listed but has no image and no mask"):
        open_dataset(tmp_path, "test")


def test_several_splits_at_once(tmp_path: Path) -> None:
    root = fabricate("cityscapes", tmp_path)
    together = open_dataset(root, "train+val")
    alone = [pair.name for split in ("train", "val") for pair in open_dataset(root, split).samples]
    assert [pair.name for pair in together.samples] == alone and len(alone) == 4
    with pytest.raises(DataError, match='no split "tets"; found: train, val'):
        open_dataset(root, "train+tets")


@pytest.mark.parametrize("layout", ["voc", "pascal_context", "coco_stuff10k"])
def test_a_folder_is_listed_as_often_for_many_names_as_for_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    root, scandir, calls = fabricate(layout, tmp_path / "set"), os.scandir, []
    monkeypatch.setattr("os.scandir", lambda path: calls.append(path) or scandir(path))
    counts = []
    (names,) = root.rglob("train.txt")
    for _ in range(2):
        calls.clear()
        open_dataset(root, "train", layout=layout, on_error="skip")
        counts.append(len(calls))
        names.write_text(names.read_text() + "".join(f"absent{i}\n" for i in range(50)))
    assert counts[0] == counts[1]


def test_names_of_several_splits_stay_apart(tmp_path: Path) -> None:
    root = fabricate("folder", tmp_path)
    for part in ("images", "masks"):
        (root / f"val/{part}/002.png").rename(root / f"val/{part}/000.png")
    names = [pair.name for pair in open_dataset(root, "train+val").samples]
    assert names == ["train/000", "001", "val/000", "003"]


def test_a_layout_may_lie_in_a_single_folder(tmp_path: Path) -> None:
    fabricate("coco_stuff164k", tmp_path / "dataset")
    assert detect_layout(tmp_path) == "coco_stuff164k"
    assert detect_layout(as_zip(tmp_path, tmp_path.parent / "whole.zip")) == "coco_stuff164k"


def test_unknown_layouts_show_what_is_there_and_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").touch()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError) as raised:
        detect_layout(tmp_path)
    message = str(raised.value)
    assert "none of the known layouts; found photos/ (1 .jpg), 1 .txt; expected" in message and "\n" not in message
    assert all(f"{name}: " in message for name in list_layouts())
    with pytest.raises(DataError, match=r"has not the layout voc; found photos/.*JPEGImages"):
        open_dataset(tmp_path, "train", layout="voc")
    with pytest.raises(ConfigError, match='unknown layout "cityscape"; did you mean "cityscapes"'):
        open_dataset(tmp_path, "train", layout="cityscape")


def test_options_are_checked(tmp_path: Path) -> None:
    root = fabricate("cityscapes", tmp_path / "city")
    with pytest.raises(ConfigError, match='cityscapes has no option "label"; did you mean "labels"'):
        open_dataset(root, "train", options={"label": "trainIds"})
    with pytest.raises(ConfigError, match="option labels of layout cityscapes must be labelIds or trainIds, got 'ids'"):
        open_dataset(root, "train", options={"labels": "ids"})
    with pytest.raises(DataError, match="no split has both leftImg8bit/ and gtCoarse/"):
        open_dataset(root, "train", options={"annotations": "coarse"})
    with pytest.raises(ConfigError, match="option images of layout patterns must be a path"):
        open_dataset(root, "train", layout="patterns")


def test_numbered_files_may_have_zeros_of_their_own(tmp_path: Path) -> None:
    root = fabricate("folder", tmp_path, options={"classes": ["a", "b", "c"]})
    for file in (root / "train/masks").iterdir():
        file.rename(file.with_name(f"00{file.name}"))
    options = {"images": "{split}/images/{name}.png", "masks": "{split}/masks/{name}.png", "classes": ["a", "b", "c"]}
    assert len(open_dataset(root, "train", layout="patterns", options=options)) == 2
    numbered = open_dataset(root, "train", layout="patterns", options={**options, "classes": 3})
    assert numbered.classes.names == ("class 0", "class 1", "class 2")
    (root / "train/images/1.png").write_bytes((root / "train/images/000.png").read_bytes())
    with pytest.raises(DataError, match="image without a mask"):  # 1 and 001 are not taken for one
        open_dataset(root, "train", layout="patterns", options=options)
