from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from featalign.data import FolderDataset, Sample, check_data, check_folder, open_dataset, train_transform
from featalign.errors import ConfigError, DataError


def test_samples_are_the_files(folder: Path) -> None:
    dataset = FolderDataset(folder, "train")
    assert len(dataset) == 3 and dataset.classes.names == ("sky", "road", "car")
    assert [sample.name for sample in dataset.samples] == ["a", "b", "c"]
    sample = dataset[1]
    image = np.asarray(Image.open(folder / "train/images/b.png"))
    mask = np.asarray(Image.open(folder / "train/masks/b.png"))
    np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), image)
    np.testing.assert_array_equal(sample["mask"], mask)
    assert sample["name"] == "b"
    assert isinstance(sample["image"], tv_tensors.Image) and sample["image"].dtype == torch.uint8
    assert isinstance(sample["mask"], tv_tensors.Mask) and sample["mask"].dtype == torch.int64


def test_nothing_is_opened_before_it_is_asked_for(folder: Path) -> None:
    (folder / "train/images/b.png").write_bytes(b"")
    dataset = FolderDataset(folder, "train")
    assert dataset[0]["name"] == "a"
    with pytest.raises(DataError, match=r"images/b\.png: is empty"):
        dataset[1]


def test_suffixes_may_differ_in_kind_and_case(folder: Path) -> None:
    image = Image.open(folder / "train/images/a.png")
    image.save(folder / "train/images/a.JPG", format="JPEG")
    (folder / "train/images/a.png").unlink()
    Image.open(folder / "train/masks/a.png").save(folder / "train/masks/a.TIF", format="TIFF")
    (folder / "train/masks/a.png").unlink()
    (folder / "train/masks/._a.png").write_bytes(b"what a file manager leaves behind")
    assert FolderDataset(folder, "train")[0]["name"] == "a"


def test_pickled_with_its_transform(folder: Path) -> None:
    dataset = FolderDataset(folder, "train", transform=train_transform(crop=8, jitter=0.1))
    copy = pickle.loads(pickle.dumps(dataset))
    torch.manual_seed(3)
    expected = dataset[0]
    torch.manual_seed(3)
    assert torch.equal(copy[0]["image"], expected["image"])


def test_cache_reads_once_and_gives_the_same(folder: Path) -> None:
    def darken(sample: Sample) -> Sample:
        sample["image"] = tv_tensors.Image(sample["image"] // 2)
        return sample

    plain, cached = (FolderDataset(folder, "train", transform=darken, cache=cache) for cache in (False, True))
    images = [plain[i]["image"] for i in range(3)]
    assert all(torch.equal(cached[i]["image"], images[i]) for i in range(3))
    shutil.rmtree(folder / "train/images")
    assert all(torch.equal(cached[i]["image"], images[i]) for i in range(3))


def test_size_of_a_pair_must_be_equal(folder: Path) -> None:
    Image.new("L", (15, 12)).save(folder / "train/masks/a.png")
    with pytest.raises(DataError, match=r"masks/a\.png: mask of 15 x 12 for an image of 16 x 12 \(.*images/a\.png\)"):
        FolderDataset(folder, "train")[0]


def test_mask_of_a_turned_photo_is_compared_upright(folder: Path, save_turned: Callable[..., Path]) -> None:
    upright = np.zeros((12, 16, 3), np.uint8)
    (folder / "train/images/a.png").unlink()
    save_turned(folder / "train/images/a.jpg", upright)
    assert FolderDataset(folder, "train")[0]["image"].shape == (3, 12, 16)
    Image.new("L", (12, 16)).save(folder / "train/masks/a.png")
    with pytest.raises(DataError, match=r"mask of 12 x 16 for an image of 16 x 12 .*after EXIF rotation"):
        FolderDataset(folder, "train")[0]


def test_values_outside_the_classes(folder: Path) -> None:
    Image.new("L", (16, 12), 9).save(folder / "train/masks/a.png")
    with pytest.raises(DataError, match=r"masks/a\.png: values outside the classes: 9 \(192 pixels\)"):
        FolderDataset(folder, "train")[0]


def test_unknown_split_lists_what_exists(folder: Path) -> None:
    with pytest.raises(DataError, match=r'no split "trian"; found: train, val'):
        FolderDataset(folder, "trian")


def test_missing_classes_show_an_example(folder: Path) -> None:
    (folder / "classes.json").unlink()
    with pytest.raises(DataError, match=r'classes\.json: does not exist.*\{"classes": \[\{"id": 0, "name"'):
        FolderDataset(folder, "train")


def test_no_folder_and_no_split(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: is neither a folder nor a zip file"):
        FolderDataset(tmp_path / "nowhere", "train")
    (tmp_path / "flat").mkdir()
    shutil.copy(folder / "classes.json", tmp_path / "flat")
    with pytest.raises(DataError, match=r"flat: has no split; expected ROOT.*; found: classes\.json"):
        FolderDataset(tmp_path / "flat", "train")


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("images/a.png", r"masks/a\.png: mask without an image"),
        ("masks/a.png", r"images/a\.png: image without a mask"),
        ("masks", r"train/masks: does not exist; .*image without a mask; and 1 more; expected ROOT"),
    ],
)
def test_incomplete_pairs(folder: Path, removed: str, message: str) -> None:
    target = folder / "train" / removed
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    with pytest.raises(DataError, match=rf"{message}.*featalign check-data"):
        FolderDataset(folder, "train")


def test_images_of_a_held_out_test_are_no_fault(folder: Path) -> None:
    (folder / "test" / "images").mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "test" / "masks", ignore_errors=True)
    shutil.copy(folder / "train" / "images" / "a.png", folder / "test" / "images")
    report = check_folder(folder)
    assert report.ok and any("held-out test" in note.message for note in report.notes)


@pytest.mark.parametrize("name", ["b.png", "a.jpg"])
def test_a_test_with_masks_that_do_not_fit_is_at_fault(folder: Path, name: str) -> None:
    shutil.rmtree(folder / "test", ignore_errors=True)
    for part in ("images", "masks"):
        (folder / "test" / part).mkdir(parents=True)
    shutil.copy(folder / "train" / "images" / "a.png", folder / "test" / "images")
    shutil.copy(folder / "train" / "masks" / "a.png", folder / "test" / "masks" / name)
    report = check_folder(folder)
    assert not report.ok and any("image without a mask" in error.message for error in report.errors)
    assert not any("held-out test" in note.message for note in report.notes)


def test_a_split_of_which_everything_is_skipped_is_an_error(folder: Path) -> None:
    for mask in (folder / "train" / "masks").iterdir():
        mask.write_bytes(b"")
    errors = [str(error) for error in check_data(folder, splits=["train"], on_error="skip").errors]
    assert errors == ["train: has no sample that can be used"]


@pytest.mark.parametrize("option", [{"shift": -1}, {"remap": {255: 1}}, {"reduce_zero": True}])
def test_masks_of_colours_have_no_numbers_to_shift(folder: Path, option: dict) -> None:
    with pytest.raises(ConfigError, match=f"option colors .*{next(iter(option))}"):
        open_dataset(folder, "train", options={"colors": True, **option})


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_folders_that_cannot_be_read_are_passed_over(folder: Path) -> None:
    (folder / "lost+found").mkdir(mode=0)
    assert check_folder(folder).ok


def test_empty_split(folder: Path) -> None:
    for part in ("images", "masks"):
        shutil.rmtree(folder / "train" / part)
        (folder / "train" / part).mkdir()
    with pytest.raises(DataError, match=r"train/images: holds no image"):
        FolderDataset(folder, "train")


def test_jpeg_masks_and_twins(folder: Path) -> None:
    Image.open(folder / "train/masks/a.png").save(folder / "train/masks/a.jpg")
    with pytest.raises(DataError, match=r"train/masks: masks must be PNG, .*; found 1 others \(\.jpg\)"):
        FolderDataset(folder, "train")
    Image.open(folder / "val/images/d.png").save(folder / "val/images/d.bmp")
    with pytest.raises(DataError, match=r"images/d\.png: has the same name as d\.bmp"):
        FolderDataset(folder, "val")


def test_accents_pair_however_they_are_written(folder: Path) -> None:
    for part, name in (("images", "Caf\u00e9"), ("masks", "Cafe\u0301")):  # the second as macOS writes it into archives
        (folder / "train" / part / "a.png").rename(folder / "train" / part / f"{name}.png")
    assert FolderDataset(folder, "train")[0]["name"] == "Caf\u00e9"
    places = {part: f"{{split}}/{part}/{{name}}.png" for part in ("images", "masks")}
    assert open_dataset(folder, "train", layout="patterns", options=places)[0]["name"] == "Caf\u00e9"


def test_classes_of_one_name_are_refused(folder: Path) -> None:
    rows = [{"id": i, "name": name} for i, name in enumerate(["sky", "car", "sky"])]
    (folder / "classes.json").write_text(json.dumps({"classes": rows}))
    for options in ({}, {"classes": ["sky", "car", "sky"]}):
        with pytest.raises(DataError, match="set: classes 0, 2 have the same name, sky"):
            open_dataset(folder, "train", options=options)


def test_classes_of_one_color_are_refused_where_masks_are_read_by_it(folder: Path) -> None:
    rows = [{"id": i, "name": name, "color": [i // 2, 0, 9]} for i, name in enumerate(["sky", "road", "car"])]
    (folder / "classes.json").write_text(json.dumps({"classes": rows}))
    assert open_dataset(folder, "train")[0]["name"] == "a"
    with pytest.raises(DataError, match=r"classes 0, 1 have the same color, \(0, 0, 9\)"):
        open_dataset(folder, "train", options={"colors": True})
