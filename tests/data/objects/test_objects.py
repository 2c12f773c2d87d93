"""COCO's instance files: what is read, and what is said about each kind of wrong annotation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coco_files import run_lengths
from fabricate import fabricate
from PIL import Image

from featalign.data.objects import check_objects, detection_target, find_objects, open_objects, read_coco
from featalign.data.objects.rle import decode, encode
from featalign.data.run_lengths import decompressed
from featalign.errors import ConfigError, DataError
from featalign.metrics import average_precision
from featalign.training import Recipe
from featalign.training.object_splits import object_files

pytest.importorskip("pycocotools", reason="pip install 'featalign[detection]'")

PAGE = Path(__file__).parents[3] / "docs" / "objects.md"
WRONG = {
    "category": ({"category_id": 4}, "is of category 4, which the file does not list"),
    "image": ({"image_id": 9}, "is of image 9, which the file does not list"),
    "outside": ({"bbox": [25, 2, 5, 5]}, r"has a box \[25.0, 2.0, 5.0, 5.0\] that lies outside the image of 20 x 16"),
    "flat": ({"bbox": [1, 1, 0, 5]}, "that has no area"),
    "empty": ({"segmentation": {"size": [16, 20], "counts": [320]}}, "has an empty mask"),
    "none": ({"segmentation": None}, "has no segmentation; read the boxes alone with masks=False"),
    "size": ({"segmentation": {"size": [20, 16], "counts": [320]}}, r"run lengths of \[20, 16\] for an image of"),
    "nan": ({"bbox": [1, float("nan"), 2, 5]}, "that is not four numbers"),
    "no box": ({"bbox": None}, "has a box None that is not four numbers"),
    "short": ({"bbox": [1, 1, 5]}, r"has a box \[1, 1, 5\] that is not four numbers"),
    "words": ({"bbox": ["1", "1", "wide", "5"]}, "that is not four numbers"),
    "no category": ({"category_id": None}, "is of category None, which the file does not list"),
    "no image": ({"image_id": "a.png"}, "is of image a.png, which the file does not list"),
    "sum": ({"segmentation": {"size": [16, 20], "counts": [10, 5]}}, "has run lengths that do not add up to the 320 "),
    "negative": ({"segmentation": {"size": [16, 20], "counts": [10, -5, 315]}}, "has run lengths that do not add up"),
    "line": ({"segmentation": [[1, 1, 5, 5]]}, "has no segmentation"),
    "half": ({"segmentation": [[1, 1, 5, 1, 5, 5, 1]]}, "has a polygon that is not x, y of three points or more"),
    "flat list": ({"segmentation": [1, 1, 5, 1, 5, 5]}, "has a segmentation that is neither polygons nor run lengths"),
    "form": ({"segmentation": {"size": [16, 20], "counts": {}}}, "neither polygons nor run lengths"),
    "null": ({"segmentation": [[1, 1, 5, None, 5, 5]]}, "has a polygon with coordinates that are no numbers"),
    "far": ({"segmentation": [[1, 1, 5e7, 1, 5, 5]]}, "has a polygon with coordinates .* or beyond 1,000,000 pixels"),
    "no text": ({"segmentation": {"size": [16, 20], "counts": ""}}, "has run lengths that do not add up to the 320 "),
    "cut text": ({"segmentation": {"size": [16, 20], "counts": "S1"}}, "has run lengths that do not add up"),
    "half text": ({"segmentation": {"size": [16, 20], "counts": "S1P"}}, "run lengths that break off"),
    "other text": ({"segmentation": {"size": [16, 20], "counts": "S1 P"}}, "' ' in compressed run lengths"),
}


def test_what_is_read(content, write):
    dataset = open_objects(*write(content))
    assert dataset.classes.names == ("cat", "car") and dataset.file.categories == (3, 8)
    sample = dataset[0]
    assert sample["image"].shape == (3, 16, 20) and sample["image_id"] == 1 and sample["name"] == "1"
    assert sample["boxes"].tolist() == [[1, 1, 4, 5], [10, 2, 16, 8], [0, 9, 20, 16]]
    assert sample["labels"].tolist() == [1, 0, 0] and sample["crowd"].tolist() == [False, False, True]
    for mask, (left, top, right, bottom) in zip(sample["masks"], sample["boxes"].int().tolist(), strict=True):
        assert mask.dtype == torch.uint8 and mask.sum() == (right - left) * (bottom - top)
        assert mask[top:bottom, left:right].all()


def test_the_target_of_a_detector_has_no_crowds_and_counts_from_one(content, write):
    dataset = open_objects(*write(content))
    target = detection_target(dataset[0])
    assert target["labels"].tolist() == [2, 1] and target["boxes"].tolist() == [[1, 1, 4, 5], [10, 2, 16, 8]]
    assert target["masks"].shape == (2, 16, 20) and int(target["image_id"]) == 1
    assert all(type(value) is torch.Tensor for value in target.values())
    for index in (1, 2):  # nothing; nothing but a crowd
        target = detection_target(dataset[index])
        assert target["boxes"].shape == (0, 4) and target["masks"].shape == (0, 16, 20)


def test_images_without_objects_are_kept_or_dropped(content, write):
    files = write(content)
    assert [image.number for image in open_objects(*files).images] == [1, 2, 3]
    assert [image.number for image in open_objects(*files, empty="drop").images] == [1]
    content["annotations"] = content["annotations"][2:]
    with pytest.raises(DataError, match="none of 3 images has an object that is not a crowd"):
        open_objects(*write(content), empty="drop")


def test_boxes_alone(content, write):
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    sample = open_objects(*write(content), masks=False)[0]
    assert "masks" not in sample and "masks" not in detection_target(sample)
    assert sample["boxes"].tolist() == [[1, 1, 4, 5], [10, 2, 16, 8], [0, 9, 20, 16]]


def test_the_truth_is_of_what_is_in_the_set(content, write):
    content["annotations"][0]["category_id"] = 4
    truth = open_objects(*write(content), empty="drop", faulty="skip").truth
    assert [row["id"] for row in truth["images"]] == [1]
    assert [row["id"] for row in truth["annotations"]] == [12, 13]


def test_the_truth_does_not_wait_for_images_to_be_read(content, write):
    """They may be read by other processes."""
    content["annotations"][0]["segmentation"] = None
    files = write(content)
    dataset = open_objects(*files, faulty="skip")
    assert [row["id"] for row in dataset.truth["annotations"]] == [12, 13, 14]
    assert list(dataset.skipped) == [11]
    assert len(open_objects(*files, faulty="skip", masks=False).truth["annotations"]) == 4


@pytest.mark.parametrize("masks", [True, False])
def test_the_truth_says_what_the_file_leaves_out(content, write, masks):
    """Files of one's own often have no ``area`` and no ``iscrowd``, numbers as text, and boxes beyond the image."""
    for row in content["annotations"]:
        del row["area"]
        row["image_id"] = str(row["image_id"])
    del content["annotations"][0]["iscrowd"]
    content["annotations"][1] |= {"iscrowd": None, "area": None}
    content["annotations"][0]["bbox"] = [-2, 1, 6, 4]
    content["annotations"][1]["segmentation"].insert(0, [3, 3, 4, 4])
    dataset = open_objects(*write(content), masks=masks)
    rows = dataset.truth["annotations"]
    assert [row["iscrowd"] for row in rows] == [0, 0, 1, 1] and [row["image_id"] for row in rows] == [1, 1, 1, 3]
    assert [row["area"] for row in rows] == ([12, 36, 140, 81] if masks else [16, 36, 140, 81])
    assert rows[0]["bbox"] == [0, 1, 4, 4]
    if masks:
        rows = [row | {"segmentation": encode(decode(row["segmentation"], 16, 20))} for row in rows]
    found = [row | {"score": 1.0} for row in rows if not row["iscrowd"]]
    for kind in ("bbox", "segm") if masks else ("bbox",):
        assert average_precision(dataset.truth, found, kind=kind).ap == pytest.approx(1)


@pytest.mark.parametrize("area", ["15", float("nan"), None])
def test_areas_that_are_text_or_no_number_are_scored(content, write, area):
    content["annotations"][0]["area"] = area
    dataset = open_objects(*write(content))
    assert dataset.truth["annotations"][0]["area"] == (15 if area == "15" else 12)
    row = dataset.truth["annotations"][0] | {"score": 1.0}
    assert average_precision(dataset.truth, [row], kind="bbox").class_ap[1] == pytest.approx(1)


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_annotations_stop_are_skipped_and_are_found(content, write, kind):
    change, message = WRONG[kind]
    content["annotations"][0] |= change
    files = write(content)
    with pytest.raises(DataError, match=f"instances.json: annotation 11 .*{message}"):
        open_objects(*files)[0]
    dataset = open_objects(*files, faulty="skip")
    assert dataset[0]["labels"].tolist() == [0, 0] and len(dataset[0]["masks"]) == 2
    assert list(dataset.skipped) == [11]
    errors = [finding for finding in check_objects(*files) if finding.severity == "error"]
    assert len(errors) == 1
    with pytest.raises(DataError, match=f"annotation 11 .*{message}"):
        raise DataError(errors[0].message)


def test_boxes_that_reach_beyond_are_cut_and_noted(content, write):
    content["annotations"][1]["bbox"] = [10.5, -3, 12, 9.25]
    files = write(content)
    assert open_objects(*files)[0]["boxes"][1].tolist() == [10.5, 0, 20, 6.25]
    notes = [str(finding.message) for finding in check_objects(*files) if finding.severity == "note"]
    assert notes == [
        "1 boxes reach beyond their image and are cut",
        '1 images without objects: background, or left out with empty="drop"',
        '1 images of nothing but crowds: for training leave them out with empty="drop"',
    ]


def test_classes_without_an_object_are_noted(content, write):
    content["categories"].append({"id": 90, "name": "toothbrush"})
    assert check_objects(*write(content))[-1].message == "classes without an object: toothbrush"


def test_images_that_are_missing_or_of_another_size(content, write):
    path, folder = write(content)
    (folder / "2.png").unlink()
    Image.new("RGB", (16, 20)).save(folder / "3.png")
    messages = {
        finding.file.name: finding.message for finding in check_objects(path, folder) if finding.severity == "error"
    }
    assert messages == {
        "2.png": "does not exist",
        "3.png": "16 x 20 pixels, but the annotations say 20 x 16; photos are read turned as their EXIF data say",
    }
    with pytest.raises(DataError, match=r"3\.png: \(20, 16\) \(H, W\), but .*instances\.json says \(16, 20\)"):
        open_objects(path, folder)[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("images"), 'expected COCO\'s table "images"'),
        (lambda c: c["annotations"].append(c["annotations"][0]), '1 rows of "annotations" repeat the "id"'),
        (lambda c: c["annotations"][0].update(iscrowd="no"), "expected COCO's detection format, got ValueError"),
        (lambda c: c["images"][1].pop("height"), 'number 2 of "images" has no "height"; expected file_name, height, '),
        (lambda c: c["categories"][1].update(name=None), 'number 3 of "categories" has no "name"; expected name of '),
    ],
)
def test_files_of_another_form_are_refused(content, write, change, message):
    path, _ = write(content)
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_coco(path)


def test_no_file_and_wrong_choices(content, write, tmp_path):
    with pytest.raises(DataError, match=r"none\.json: cannot be read"):
        read_coco(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(DataError, match=r"text\.json: is not JSON"):
        read_coco(tmp_path / "text.json")
    with pytest.raises(ConfigError, match="faulty must be stop or skip"):
        open_objects(*write(content), faulty="ignore")


def test_names_written_on_windows_are_found(content, write):
    path, folder = write(content)
    for image in content["images"]:
        (folder / "sub").mkdir(exist_ok=True)
        (folder / image["file_name"]).rename(folder / "sub" / image["file_name"])
        image["file_name"] = "sub\\" + image["file_name"]
    path.write_text(json.dumps(content))
    assert not [finding for finding in check_objects(path, folder) if finding.severity == "error"]
    for image, sample in zip(content["images"], open_objects(path, folder), strict=True):
        name = image["file_name"].partition("\\")[2]
        assert sample["name"] == Path(name).stem and sample["image_id"] == image["id"]
        assert np.array_equal(sample["image"].permute(1, 2, 0), np.asarray(Image.open(folder / "sub" / name)))


@pytest.mark.parametrize(("listed", "stored"), [("e\u0301", "\u00e9"), ("\u00e9", "e\u0301")])
def test_names_are_found_however_their_accents_are_composed(content, write, listed, stored):
    path, folder = write(content)
    (folder / f"caf{stored}").mkdir()
    for image in content["images"]:
        (folder / image["file_name"]).rename(folder / f"caf{stored}" / f"{stored}{image['file_name']}")
        image["file_name"] = f"caf{listed}/{listed}{image['file_name']}"
    path.write_text(json.dumps(content))
    assert not [finding for finding in check_objects(path, folder) if finding.severity == "error"]
    for image, sample in zip(content["images"], open_objects(path, folder), strict=True):
        name = Path(image["file_name"]).name.removeprefix(listed)
        pixels = np.asarray(Image.open(folder / f"caf{stored}" / f"{stored}{name}"))
        assert np.array_equal(sample["image"].permute(1, 2, 0), pixels)


def test_a_name_that_fits_exactly_comes_before_one_that_is_composed_otherwise(content, write):
    path, folder = write(content)
    (folder / content["images"][0]["file_name"]).rename(folder / "\u00e9.png")
    Image.fromarray(np.zeros((3, 3, 3), np.uint8)).save(folder / "e\u0301.png")
    content["images"][0]["file_name"] = "\u00e9.png"
    path.write_text(json.dumps(content))
    assert not [finding for finding in check_objects(path, folder) if finding.severity == "error"]


def test_nuclei_are_those_of_their_masks(data_dir: Path):
    root = data_dir / "samples" / "dsb2018_cc0"
    if not root.is_dir():
        pytest.skip(f"{root} does not exist")
    dataset = open_objects(root / "annotations" / "instances_val.json", root / "val" / "images")
    assert len(dataset) == 20 and sum(len(image.objects) for image in dataset.images) == 644
    for index in (0, 7):
        sample = dataset[index]
        numbers = np.asarray(Image.open(root / "val" / "instance_masks" / f"{sample['name']}.png")).astype(int)
        drawn = {mask.numpy().tobytes() for mask in sample["masks"]}
        assert drawn == {(numbers == n).astype(np.uint8).tobytes() for n in np.unique(numbers) if n}


def test_cocos_own_file(data_dir: Path):
    root = data_dir / "samples" / "coco_panoptic"
    if not root.is_dir():
        pytest.skip(f"{root} does not exist")
    path = root / "annotations" / "instances_val2017.json"
    dataset = open_objects(path, root / "val2017")
    rows = {annotation["id"]: annotation for annotation in dataset.truth["annotations"]}
    assert len(rows) == 43 and len(dataset.classes) == 80
    for image, sample in zip(dataset.images, dataset, strict=True):
        assert sum(sample["crowd"]) == sum(rows[one.number]["iscrowd"] for one in image.objects) > 0
        assert [int(mask.sum()) for mask in sample["masks"]] == [rows[one.number]["area"] for one in image.objects]
        for one, mask in zip(image.objects, sample["masks"], strict=True):
            assert encode(mask.numpy()) == rows[one.number]["segmentation"]
    assert not [finding for finding in check_objects(path, root / "val2017") if finding.severity == "error"]


def test_masks_and_run_lengths():
    mask = np.zeros((5, 7), np.uint8)
    mask[1:4, 2:6] = 1
    assert np.array_equal(decode(encode(mask), 5, 7), mask)
    assert np.array_equal(decode({"size": [5, 7], "counts": [11, 3, 2, 3, 2, 3, 2, 3, 6]}, 5, 7), mask)
    assert np.array_equal(decode([[2, 1, 6, 1, 6, 4, 2, 4]], 5, 7), mask)


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (64, 33)])
def test_compressed_run_lengths_that_lack_a_run_are_refused(size):
    """pycocotools leaves what they do not cover as the memory was."""
    mask = np.random.default_rng(0).random(size) < 0.5
    lengths = run_lengths(mask.astype(np.uint8))["counts"]
    text = encode(mask)["counts"]
    assert decompressed(text) == lengths and np.array_equal(decode(encode(mask), *size), mask)
    for end in range(len(text)):
        with pytest.raises(DataError, match=r"^has .*run lengths"):
            decode({"size": [*size], "counts": text[:end]}, *size)


def test_the_page_runs(content, write, tmp_path, monkeypatch):
    """Its files, fabricated, in the working folder; what is scored is an object of the truth itself."""
    path, folder = write(content)
    (tmp_path / "annotations").mkdir()
    path.rename(tmp_path / "annotations" / "instances_train2017.json")
    folder.rename(tmp_path / "train2017")
    monkeypatch.chdir(tmp_path)
    fabricate("cityscapes", tmp_path / "cityscapes")
    first, labelled, second = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    row = content["annotations"][0]
    names: dict[str, Any] = {
        "rows": [{**row, "score": 1.0, "segmentation": encode(decode(row["segmentation"], 16, 20))}]
    }
    exec(compile(first, str(PAGE), "exec"), names)
    assert names["sample"]["image"].shape == (3, 512, 512)
    assert names["target"]["boxes"].shape == (2, 4)
    exec(compile(labelled, str(PAGE), "exec"), names)
    assert len(names["segments"]) == len(names["objects"]) == 2
    exec(compile(second, str(PAGE), "exec"), names)


def test_a_set_of_the_other_kind_is_told_from_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"panoptic_\*\.json at all; how masks .* `featalign check-data` says$"):
        find_objects(tmp_path, "val", kind="panoptic")
    with pytest.raises(DataError, match=r"there is no annotations/instances_\*\.json at all$"):
        find_objects(tmp_path, "val", kind="instances")
    with pytest.raises(DataError, match="nowhere: does not exist; expected the folder of the data set"):
        find_objects(tmp_path / "nowhere", "val", kind="panoptic")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val.json").write_text("{}")
    with pytest.raises(DataError, match=r"at all, but instances_\*\.json, which detectors read"):
        find_objects(tmp_path, "val", kind="panoptic")


def test_whether_objects_have_masks_is_no_text(tmp_path: Path) -> None:
    data = Recipe.from_content({"data": {"options": {"masks": "no"}}}).data
    with pytest.raises(ConfigError, match=r"data\.options: masks must be true or false, got 'no'"):
        object_files(tmp_path, data, "val", kind="instances")
