"""Objects and segments of data sets that label pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from fabricate import fabricate
from PIL import Image

from featalign.data import in_order, load_collated, open_dataset
from featalign.data.objects import (
    LabelledObjects,
    LabelledSegments,
    class_ids,
    object_transform,
    panoptic_target,
    panoptic_transform,
)
from featalign.errors import DataError
from featalign.metrics import average_precision

CAR, BICYCLE = 13, 18


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return fabricate("cityscapes", tmp_path_factory.mktemp("cityscapes"))


def test_segments_divide_the_mask(root):
    dataset = LabelledSegments(open_dataset(root, "train"))
    assert dataset.things == tuple(range(11, 19)) and len(dataset) == len(dataset.samples) == 2
    sample, pixels = dataset[0], dataset.pixels[0]
    assert torch.equal(class_ids(sample), torch.as_tensor(pixels["mask"]))
    assert set(sample["segments"].unique().tolist()) - {0} == set(sample["numbers"].tolist())
    kinds = list(zip(sample["labels"].tolist(), sample["crowd"].tolist(), strict=True))
    things = [kind for kind in kinds if kind[0] in dataset.things]
    assert things.count((CAR, False)) == 3 and things.count((CAR, True)) == 1
    assert len({label for label, _ in kinds if label not in dataset.things}) == len(kinds) - len(things)
    target = panoptic_target(sample, dataset.things)
    assert target["labels"].tolist() == [CAR + 1] * 3 and target["masks"].sum((1, 2)).gt(0).all()


@pytest.mark.parametrize("kind", [LabelledSegments, LabelledObjects])
def test_what_is_kept_in_memory_is_decoded_before_workers_start(root, kind, monkeypatch):
    dataset = kind(open_dataset(root, "train", cache=True))
    list(load_collated(dataset, in_order(len(dataset)), list, workers=1))
    monkeypatch.setattr("featalign.data.dataset.load_image", None)  # decoding would fail now
    assert len([dataset[index] for index in range(len(dataset))]) == 2


def test_objects_and_their_truth(root):
    dataset = LabelledObjects(open_dataset(root, "train"))
    assert dataset.classes.names == tuple(open_dataset(root, "train").classes.names[11:])
    truth = dataset.truth
    for index in range(2):
        sample = dataset[index]
        rows = [row for row in truth["annotations"] if row["image_id"] == sample["image_id"]]
        assert [row["category_id"] - 1 for row in rows] == sample["labels"].tolist()
        assert [bool(row["iscrowd"]) for row in rows] == sample["crowd"].tolist()
        assert [row["area"] for row in rows] == sample["masks"].sum((1, 2)).tolist()
        for row, (left, top, right, bottom) in zip(rows, sample["boxes"].tolist(), strict=True):
            assert row["bbox"] == [left, top, right - left, bottom - top]
    found = [{**row, "score": 1.0} for row in truth["annotations"] if not row["iscrowd"]]
    assert average_precision(truth, found, kind="segm").ap == average_precision(truth, found, kind="bbox").ap == 1


def test_without_files_of_objects_every_class_is_stuff(tmp_path):
    pixels = open_dataset(fabricate("folder", tmp_path), "train")
    dataset = LabelledSegments(pixels)
    sample = dataset[0]
    assert dataset.things == () and not sample["crowd"].any()
    assert sample["labels"].tolist() == sorted(set(np.unique(pixels[0]["mask"])) - {255})
    with pytest.raises(DataError, match="does not tell objects apart"):
        LabelledObjects(pixels)


@pytest.mark.parametrize("ignored", [255, 1000, 65535])
def test_many_classes_and_any_ignore_index(tmp_path, ignored):
    """Ids of 16 bits, and a value for void that is none of 8."""
    root = tmp_path / "many"
    for kind in ("images", "masks"):
        (root / "train" / kind).mkdir(parents=True)
    content = {"classes": [{"id": i, "name": f"class {i}"} for i in range(300)], "ignore_index": ignored}
    (root / "classes.json").write_text(json.dumps(content))
    mask = np.repeat(np.array([0, 43, 256, 299, ignored], np.uint16), 8)[:, None].repeat(32, 1)
    Image.fromarray(mask).save(root / "train" / "masks" / "a.png")
    Image.fromarray(np.zeros((40, 32, 3), np.uint8)).save(root / "train" / "images" / "a.png")
    sample = LabelledSegments(open_dataset(root, "train"))[0]
    assert sample["numbers"].tolist() == [1, 2, 3, 4] and sample["labels"].tolist() == [0, 43, 256, 299]
    assert sample["segments"][::8, 0].tolist() == [1, 2, 3, 4, 0]


def test_transforms(root):
    pixels = open_dataset(root, "train")
    segments = LabelledSegments(pixels, transform=panoptic_transform(crop=(32, 48)))[0]
    objects = LabelledObjects(pixels, transform=object_transform(crop=(32, 48)))[0]
    assert segments["segments"].shape == segments["image"].shape[1:] == (32, 48)
    assert objects["masks"].shape[1:] == (32, 48) and len(objects["masks"]) == len(objects["labels"])


def test_objects_of_another_size(tmp_path):
    root = fabricate("cityscapes", tmp_path)
    file = sorted(root.rglob("*train*/*/*_instanceIds.png"))[0]
    Image.fromarray(np.zeros((10, 10), np.uint16)).save(file)
    with pytest.raises(DataError, match=rf"{file.name}.*of one size"):
        LabelledSegments(open_dataset(root, "train"))[0]
