"""COCO's panoptic files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featalign.data.objects import check_panoptic, open_panoptic, panoptic_target
from featalign.errors import DataError
from featalign.metrics import PanopticQuality


@pytest.fixture
def content() -> dict:
    segments = [
        {"id": 5, "category_id": 7, "area": 6, "iscrowd": 0},
        {"id": 70000, "category_id": 2, "area": 4, "iscrowd": 1},
    ]
    return {
        "images": [{"id": 1, "file_name": "one.png", "height": 4, "width": 4}],
        "categories": [{"id": 7, "name": "sky", "isthing": 0}, {"id": 2, "name": "cat", "isthing": 1}],
        "annotations": [{"image_id": 1, "file_name": "one.png", "segments_info": segments}],
    }


def write(root: Path, content: dict, numbers: np.ndarray | None = None) -> tuple[Path, Path]:
    if numbers is None:
        numbers = np.array([[5, 5, 5, 0], [5, 5, 5, 0], [70000] * 4, [0] * 4])
    rgb = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1).astype(np.uint8)
    for folder, pixels in (("images", rgb * 0), ("panoptic", rgb)):
        (root / folder).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / folder / "one.png")
    (root / "panoptic.json").write_text(json.dumps(content))
    return root / "panoptic.json", root / "images"


def test_what_is_read(content, tmp_path):
    dataset = open_panoptic(*write(tmp_path, content))
    assert dataset.classes.names == ("cat", "sky") and dataset.things == (0,) and dataset.categories == (2, 7)
    sample = dataset[0]
    assert sample["segments"].tolist() == [[5, 5, 5, 0], [5, 5, 5, 0], [70000] * 4, [0] * 4]
    assert sample["numbers"].tolist() == [5, 70000] and sample["labels"].tolist() == [1, 0]
    assert sample["crowd"].tolist() == [False, True] and sample["image_id"] == 1
    assert check_panoptic(*write(tmp_path, content)) == []


def test_names_written_on_windows_are_found(content, tmp_path):
    path, folder = write(tmp_path, content)
    for row, place in ((content["images"][0], folder), (content["annotations"][0], tmp_path / "panoptic")):
        (place / "sub").mkdir()
        (place / "one.png").rename(place / "sub" / "one.png")
        row["file_name"] = "sub\\one.png"
    path.write_text(json.dumps(content))
    assert check_panoptic(path, folder) == []
    assert open_panoptic(path, folder)[0]["name"] == "one"


def test_segments_of_one_file_alone(content, tmp_path):
    files = write(tmp_path, content, np.array([[5, 9], [0, 0]]))
    message = r"segments \[70000\] of the JSON file have no pixel and segments \[9\] are not in the JSON file"
    with pytest.raises(DataError, match=rf"one\.png: {message}"):
        open_panoptic(*files)[0]
    (finding,) = check_panoptic(*files)
    assert finding.severity == "error" and finding.message.startswith("segments [70000]")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0]["segments_info"][0].update(category_id=9), r"categories \[9\], which are not"),
        (lambda c: c["annotations"][0].update(image_id=4), "segments of image 4, which the file does not list"),
        (
            lambda c: c["annotations"][0]["segments_info"].append(c["annotations"][0]["segments_info"][0]),
            "image 1 has segments that repeat the number of another",
        ),
        (lambda c: c["categories"][0].pop("isthing"), 'number 7 of "categories" has no "isthing"; expected name, '),
        (lambda c: c["annotations"][0].pop("segments_info"), "expected COCO's panoptic format, got KeyError"),
        (lambda c: c.pop("annotations"), 'expected COCO\'s table "annotations" with "image_id"'),
    ],
)
def test_files_of_another_form_are_refused(content, tmp_path, change, message):
    change(content)
    with pytest.raises(DataError, match=message):
        open_panoptic(*write(tmp_path, content))


def test_an_image_of_another_size(content, tmp_path):
    files = write(tmp_path, content)
    Image.new("RGB", (5, 4)).save(tmp_path / "images" / "one.png")
    (finding,) = check_panoptic(*files)
    assert "(4, 4) (H, W), but" in finding.message and finding.message.endswith("has (4, 5)")


def test_images_without_segments_are_left_out_and_named(content, tmp_path):
    content["images"] += [{"id": number, "file_name": f"{number}.png", "height": 4, "width": 4} for number in (2, 3)]
    files = write(tmp_path, content)
    assert len(open_panoptic(*files)) == 1
    (finding,) = check_panoptic(*files)
    assert (finding.severity, finding.file) == ("note", files[0])
    assert finding.message == "2 images without segments are left out: 2.png, 3.png"


def test_an_image_that_is_missing_is_told_by_its_own_name(content, tmp_path):
    files = write(tmp_path, content)
    missing = tmp_path / "images" / "one.png"
    missing.unlink()
    (finding,) = check_panoptic(*files)
    assert (finding.file, finding.message) == (missing, "does not exist")


def test_cocos_own_files_and_their_quality(data_dir: Path):
    root = data_dir / "samples" / "coco_panoptic"
    if not root.is_dir():
        pytest.skip(f"{root} does not exist")
    files = root / "annotations" / "panoptic_val2017.json", root / "val2017"
    dataset = open_panoptic(*files)
    assert len(dataset.classes) == 133 and len(dataset.things) == 80 and len(dataset) == 2
    assert dataset.classes.colors[0] == (220, 20, 60)
    rows = {row["image_id"]: row["segments_info"] for row in json.loads(files[0].read_text())["annotations"]}
    quality = PanopticQuality(133, dataset.things)
    for sample in dataset:
        numbers = sample["numbers"].tolist()
        areas = {number: int((sample["segments"] == number).sum()) for number in numbers}
        assert areas == {segment["id"]: segment["area"] for segment in rows[sample["image_id"]]}
        classes = dict(zip(numbers, sample["labels"].tolist(), strict=True))
        crowds = sample["numbers"][sample["crowd"]].tolist()
        quality.update(sample["segments"], classes, sample["segments"], classes, crowds=crowds)
    assert (quality.scores().all.pq, quality.scores().stuff.pq) == (1.0, 1.0)
    assert check_panoptic(*files) == []


@pytest.mark.parametrize("crowd", [False, True])
def test_the_target_of_panoptic_networks(content, tmp_path, crowd):
    content["annotations"][0]["segments_info"][1]["iscrowd"] = int(crowd)
    dataset = open_panoptic(*write(tmp_path, content))
    target = panoptic_target(dataset[0], dataset.things)
    assert target["semantic"].tolist() == [[1, 1, 1, 255], [1, 1, 1, 255], [0] * 4, [255] * 4]
    if crowd:
        assert target["boxes"].shape == (0, 4) and target["masks"].shape == (0, 4, 4) and not len(target["labels"])
    else:
        assert target["boxes"].tolist() == [[0, 2, 4, 3]] and target["labels"].tolist() == [1]
        assert target["masks"][0].tolist() == [[0] * 4, [0] * 4, [1] * 4, [0] * 4]
