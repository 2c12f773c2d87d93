"""Files that cannot be read: stop, or skip and count, the same with any number of workers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fabricate import as_zip, fabricate
from PIL import Image

from featalign.data import (
    EndlessBatches,
    TrainingLoader,
    UnreadableError,
    check_data,
    class_pixels,
    in_order,
    load_batches,
    open_dataset,
)
from featalign.errors import ConfigError, DataError


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Six images to train on; the second is damaged, the fourth of another size than its mask."""
    root = fabricate("folder", tmp_path / "set", size=(12, 16), images=6)
    file = root / "train/images/001.png"
    file.write_bytes(file.read_bytes()[:200])
    Image.new("L", (9, 9)).save(root / "train/masks/003.png")
    return root


def test_stop_names_the_file(broken: Path) -> None:
    dataset = open_dataset(broken, "train")
    for workers in (0, 2):
        with pytest.raises(DataError, match=r"images/001\.png: is damaged"):
            list(load_batches(dataset, in_order(6), workers=workers))
    with pytest.raises(UnreadableError, match=r"masks/003\.png: mask of 9 x 9"):
        dataset[3]


@pytest.mark.parametrize("workers", [0, 2])
def test_skip_leaves_out_and_counts(broken: Path, workers: int) -> None:
    dataset = open_dataset(broken, "train", on_error="skip")
    names = [name for batch in load_batches(dataset, in_order(6), workers=workers) for name in batch["name"]]
    assert names == ["000", "002", "004", "005"] and sorted(dataset.skipped) == ["001", "003"]
    assert "is damaged" in dataset.skipped["001"] and "mask of 9 x 9" in dataset.skipped["003"]
    assert [sample["name"] for sample in dataset] == names
    with pytest.raises(UnreadableError):
        dataset[1]


def test_training_batches_stay_full_and_equal(broken: Path) -> None:
    found = []
    for workers in (0, 2):
        dataset = open_dataset(broken, "train", on_error="skip")
        batches = list(TrainingLoader(dataset, EndlessBatches(6, batch=3, seed=1, stop=4), workers=workers))
        assert all(len(batch["name"]) == 3 for batch in batches) and sorted(dataset.skipped) == ["001", "003"]
        found.append(batches)
    for a, b in zip(*found, strict=True):
        assert a["name"] == b["name"] and torch.equal(a["image"], b["image"])


def test_missing_partners_are_skipped_and_counted_too(broken: Path) -> None:
    (broken / "train/masks/000.png").unlink()
    with pytest.raises(DataError, match="image without a mask"):
        open_dataset(broken, "train")
    dataset = open_dataset(broken, "train", on_error="skip")
    assert len(dataset) == 5 and any("image without a mask" in reason for reason in dataset.skipped.values())


def test_nothing_readable(tmp_path: Path) -> None:
    root = fabricate("folder", tmp_path)
    for file in (root / "train/images").iterdir():
        file.write_bytes(b"")
    dataset = open_dataset(root, "train", on_error="skip")
    with pytest.raises(DataError, match=r"none of 2 samples can be read, such as .*is empty"):
        next(iter(TrainingLoader(dataset, EndlessBatches(2, batch=1, seed=0, stop=1))))


def test_wrong_labels_always_stop(broken: Path) -> None:
    Image.new("L", (16, 12), 77).save(broken / "train/masks/002.png")
    dataset = open_dataset(broken, "train", on_error="skip")
    with pytest.raises(DataError, match="77"):
        list(load_batches(dataset, in_order(6)))


def test_check_turns_them_into_notes(broken: Path) -> None:
    assert not check_data(broken).ok
    report = check_data(broken, on_error="skip")
    assert report.ok and sum("it will be skipped" in note.message for note in report.notes) == 2
    with pytest.raises(ConfigError, match="on_error must be stop or skip"):
        open_dataset(broken, "train", on_error="ignore")  # type: ignore[arg-type]


def test_pixels_of_each_class(broken: Path) -> None:
    dataset = open_dataset(broken, "val")
    counted = class_pixels(dataset)
    assert counted.dtype == torch.int64 and counted.shape == (6, 3)
    for row, sample in zip(counted, dataset, strict=True):
        assert row.tolist() == [int((sample["mask"] == i).sum()) for i in range(3)]
    (broken / "val/masks/006.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"masks/006\.png: is empty"):
        class_pixels(dataset)
    lenient = open_dataset(broken, "val", on_error="skip")
    assert class_pixels(lenient)[0].tolist() == [0, 0, 0] and list(lenient.skipped) == ["006"]


def test_zip_faults_name_the_file(tmp_path: Path) -> None:
    root = fabricate("folder", tmp_path / "set")
    archive = as_zip(root, tmp_path / "set.zip")
    content = bytearray(archive.read_bytes())
    start = content.index(b"train/images/000.png") + 60
    content[start : start + 20] = bytes(20)
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"set\.zip/train/images/000\.png: is damaged"):
        open_dataset(archive, "train")[0]
    archive.write_bytes(b"PK but not really")
    with pytest.raises(DataError, match=r"set\.zip: cannot be read as a zip file"):
        open_dataset(archive, "train")


@pytest.mark.parametrize("workers", [0, 2])
def test_zip_in_workers(tmp_path: Path, workers: int) -> None:
    root = fabricate("cityscapes", tmp_path / "set", images=4)
    plain = open_dataset(root, "train")
    zipped = open_dataset(as_zip(root, tmp_path / "set.zip"), "train")
    _ = zipped[0]  # a handle that is open when workers are forked
    for a, b in zip(plain, load_batches(zipped, in_order(4), workers=workers), strict=True):
        assert a["name"] == b["name"][0] and torch.equal(a["image"], b["image"][0])


def test_zips_beside_each_other_count_as_unpacked(tmp_path: Path) -> None:
    root = fabricate("cityscapes", tmp_path / "set")
    (tmp_path / "zips").mkdir()
    for part in ("leftImg8bit", "gtFine"):
        (tmp_path / part).mkdir()
        (root / part).rename(tmp_path / part / part)
        as_zip(tmp_path / part, tmp_path / "zips" / f"{part}_trainvaltest.zip")
    assert len(open_dataset(tmp_path / "zips", "train")) == 2 and check_data(tmp_path / "zips").ok
