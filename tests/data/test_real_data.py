"""CamVid and the cell nuclei of DSB 2018, where they are at hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from featalign.data import EndlessBatches, FolderDataset, TrainingLoader, check_folder, read_mask, train_transform
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
