"""CamVid and the cell nuclei of DSB 2018, where they are at hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from fabricate import as_zip

from featalign.data import (
    EndlessBatches,
    FolderDataset,
    TrainingLoader,
    check_data,
    check_folder,
    class_pixels,
    open_dataset,
    read_mask,
    train_transform,
)
from featalign.errors import DataError


@pytest.fixture
def camvid(data_dir: Path) -> Path:
    return data_dir / "camvid-480" / "camvid"


@pytest.fixture
def nuclei(data_dir: Path, tmp_path: Path) -> Path:
    """A few of the samples, as a user would copy them: without classes.json."""
    for split in ("train", "val"):
        for part in ("images", "masks"):
            source = data_dir / "samples" / "dsb2018_cc0" / split / part
            (tmp_path / split / part).mkdir(parents=True)
            for file in sorted(source.iterdir())[:5]:
                shutil.copy(file, tmp_path / split / part)
    return tmp_path


def test_frequencies_are_the_published_ones(camvid: Path) -> None:
    report = check_folder(camvid, splits=["val"])
    published = json.loads((camvid / "classes.json").read_text())["statistics"]["val"]
    (val,) = report.splits
    assert report.ok and not report.findings and val.pairs == published["images"]
    assert val.void_fraction == pytest.approx(published["void_fraction"], abs=1e-4)
    assert val.to_json()["class_fraction"] == pytest.approx(published["class_fraction"], abs=1e-4)


def test_camvid_in_batches(camvid: Path) -> None:
    dataset = FolderDataset(camvid, "train", transform=train_transform(crop=(120, 160), jitter=0.2))
    assert len(dataset) == 367 and dataset.classes.names[2] == "Pole"
    for batch in TrainingLoader(dataset, EndlessBatches(len(dataset), batch=4, seed=0, stop=2)):
        assert batch["image"].shape == (4, 3, 120, 160) and batch["mask"].shape == (4, 120, 160)
        assert set(batch["mask"].unique().tolist()) <= {*range(11), 255}


def test_nuclei_need_classes_then_work(nuclei: Path) -> None:
    with pytest.raises(DataError, match=r'classes\.json: does not exist.*"background"'):
        check_folder(nuclei)
    content = {"classes": [{"id": 0, "name": "background"}, {"id": 1, "name": "nucleus"}]}
    (nuclei / "classes.json").write_text(json.dumps(content))
    report = check_folder(nuclei)
    assert report.ok, report.errors
    sample = FolderDataset(nuclei, "val")[0]
    assert set(torch.unique(sample["mask"]).tolist()) == {0, 1}


def test_real_palette_masks_are_class_ids(data_dir: Path) -> None:
    mask = read_mask(data_dir / "samples/voc/VOCdevkit/VOC2012/SegmentationClass/2007_000129.png")
    assert mask.ndim == 2 and set(mask.ravel().tolist()) <= {*range(21), 255}


SAMPLES = {
    "camvid_in_cityscapes_layout": ("cityscapes", {"train": 3, "val": 2}),
    "ade20k": ("ade20k", {"train": 2, "val": 3}),
    "voc": ("voc", {"train": 2, "val": 2, "trainval": 4}),
    "camvid_in_pascal_context_layout": ("pascal_context", {"train": 3, "val": 2}),
    "cocostuff164k_layout": ("coco_stuff164k", {"val": 2}),
    "cocostuff10k_layout": ("coco_stuff10k", {"train": 1, "test": 1, "all": 2}),
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_real_samples_from_folder_and_zip(data_dir: Path, tmp_path: Path, sample: str) -> None:
    layout, splits = SAMPLES[sample]
    if layout == "coco_stuff10k":
        pytest.importorskip("scipy", reason="reads .mat files")
    root = data_dir / "samples" / sample
    report = check_data(root)
    assert report.ok and report.layout == layout and {s.name: s.pairs for s in report.splits} == splits
    archive = as_zip(root, tmp_path / "sample.zip")
    for split, pairs in splits.items():
        dataset = open_dataset(root, split)
        counted = class_pixels(dataset)
        assert counted.shape == (pairs, len(report.classes)) and (counted.sum(1) > 0).all()
        for here, zipped in zip(dataset, open_dataset(archive, split), strict=True):
            assert torch.equal(here["image"], zipped["image"]) and torch.equal(here["mask"], zipped["mask"])


def test_label_ids_and_train_ids_of_one_image_agree(data_dir: Path) -> None:
    root = data_dir / "samples/camvid_in_cityscapes_layout"
    by_label, by_train = (
        open_dataset(root, "train", options={"labels": labels}) for labels in ("labelIds", "trainIds")
    )
    for a, b in zip(by_label, by_train, strict=True):
        assert torch.equal(a["mask"], b["mask"]) and a["mask"].unique().numel() > 5


def test_both_releases_of_coco_stuff_agree(data_dir: Path) -> None:
    pytest.importorskip("scipy", reason="reads .mat files")
    samples = data_dir / "samples"
    old = open_dataset(samples / "cocostuff10k_layout", "all", options={"classes": 171})
    new = open_dataset(samples / "cocostuff164k_layout", "val")
    assert old.classes == new.classes
    for a, b in zip(old, new, strict=True):
        assert a["name"].endswith(b["name"]) and torch.equal(a["mask"], b["mask"])


def test_ade20k_shows_what_its_objects_file_names(data_dir: Path) -> None:
    dataset = open_dataset(data_dir / "samples/ade20k", "val")
    lines = (data_dir / "samples/ade20k/ADEChallengeData2016/objectInfo150.txt").read_text().splitlines()[1:]
    assert [line.split("\t")[4].split(",")[0].strip() for line in lines] == list(dataset.classes.names)
    stored = read_mask(dataset.samples[0].mask)
    assert ((stored == 0) == (dataset[0]["mask"].numpy() == 255)).all()


def test_folders_named_by_pattern(data_dir: Path) -> None:
    options = {
        "images": "image/{split}/img-{name}.jpg",
        "masks": "semseg-label37/{split}/{name}.png",
        "classes": [f"class {i}" for i in range(37)],
    }
    report = check_data(data_dir / "samples/sunrgbd37", layout="patterns", options=options)
    assert report.ok and [split.name for split in report.splits] == ["test", "train"]
