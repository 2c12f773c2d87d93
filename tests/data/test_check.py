from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from PIL import Image

from featalign.data import CheckReport, FolderDataset, check_data, check_folder, require_trainable
from featalign.errors import DataError

T = TypeVar("T")


def faults(report: CheckReport) -> list[tuple[str, str, str]]:
    return [(f.split, f.file.name if f.file else "", f.message) for f in report.errors]


def only_fault(folder: Path) -> tuple[str, str, str]:
    report = check_folder(folder)
    assert not report.ok
    (fault,) = faults(report)
    return fault


def paint(folder: Path, value: int | np.ndarray, split: str = "train") -> None:
    for file in (folder / split / "masks").iterdir():
        Image.fromarray(np.full((12, 16), value, np.uint8)).save(file)


def two_classes(folder: Path) -> None:
    (folder / "classes.json").write_text('{"classes": [{"id": 0, "name": "not"}, {"id": 1, "name": "cell"}]}')


def test_a_good_folder_is_ok_and_counted(folder: Path) -> None:
    report = check_folder(folder)
    assert report.ok and not report.findings
    assert [(split.name, split.pairs) for split in report.splits] == [("train", 3), ("val", 1)]
    masks = np.stack([np.asarray(Image.open(f)) for f in (folder / "train/masks").iterdir()])
    known = masks[masks != 255]
    train = report.splits[0]
    assert train.void_fraction == pytest.approx((masks == 255).mean())
    assert train.class_fraction == pytest.approx([(known == i).mean() for i in range(3)])
    assert require_trainable(folder, ["train", "val"]).ok


def test_an_ignored_class_counts_nowhere(folder: Path) -> None:
    content = json.loads((folder / "classes.json").read_text()) | {"ignore_index": 0}
    (folder / "classes.json").write_text(json.dumps(content))
    paint(folder, np.arange(192).reshape(12, 16) // 48 % 3, "val")  # 2 quarters of 0, one of 1 and of 2
    (val,) = check_folder(folder, splits=["val"]).splits
    assert val.void_fraction == 0.5 and val.class_fraction == (0, 0.5, 0.5)


def test_an_ignored_class_is_told(folder: Path) -> None:
    classes = [{"id": i, "name": f"c{i}"} for i in range(300)]
    (folder / "classes.json").write_text(json.dumps({"classes": classes}))
    for report in (check_folder(folder), require_trainable(folder, ["train"])):
        assert report.notes[0].message.startswith("class 255 c255 is the ignore index")


def test_a_missing_split_to_learn_from_is_told(folder: Path) -> None:
    (folder / "train").rename(folder / "fold1")
    (note,) = check_folder(folder).notes
    assert str(note) == "train: no such split; a recipe names the one to learn from as data.train_split"
    assert not check_folder(folder, splits=["val"]).notes and not require_trainable(folder, ["fold1"]).notes


def test_report_is_json(folder: Path) -> None:
    paint(folder, 1, "val")
    content = json.loads(json.dumps(check_folder(folder).to_json()))
    assert content["ok"] and content["splits"]["val"]["class_fraction"] == {"sky": 0.0, "road": 1.0, "car": 0.0}
    assert content["splits"]["val"]["absent"] == ["sky", "car"]
    (note,) = content["findings"]
    assert note["severity"] == "note" and note["split"] == "val" and "never occur: 0 sky, 2 car" in note["message"]


def test_pairs_missing_on_either_side(folder: Path) -> None:
    (folder / "train/images/a.png").unlink()
    (folder / "train/masks/c.png").unlink()
    assert faults(check_folder(folder)) == [
        ("train", "c.png", "image without a mask"),
        ("train", "a.png", "mask without an image"),
    ]


def test_sizes_that_differ(folder: Path) -> None:
    Image.new("L", (15, 12)).save(folder / "val/masks/d.png")
    split, file, message = only_fault(folder)
    assert (split, file) == ("val", "d.png") and message.startswith("mask of 15 x 12 for an image of 16 x 12")


def test_values_outside_the_classes(folder: Path) -> None:
    paint(folder, np.arange(192).reshape(12, 16) // 190 * 77, "val")
    split, file, message = only_fault(folder)
    assert (split, file) == ("val", "d.png") and message.startswith("values outside the classes: 77 (2 pixels)")


def test_every_fault_of_a_pair_is_found(folder: Path) -> None:
    Image.new("RGBA", (16, 12)).save(folder / "val/images/d.png")
    Image.new("RGB", (16, 12)).save(folder / "val/masks/d.png")
    (_, _, image), (_, _, mask) = faults(check_folder(folder))
    assert image.startswith("4 channels (RGBA), expected 3") and "looks like a colour mask" in mask
    assert len(faults(check_folder(folder, splits=["val"], channels=4))) == 1


def test_unreadable_and_too_large_files(folder: Path) -> None:
    content = (folder / "train/images/a.png").read_bytes()
    (folder / "train/images/a.png").write_bytes(content[: len(content) // 2])
    (folder / "train/masks/b.png").write_bytes(b"")
    (_, cut, truncated), (_, blank, empty) = faults(check_folder(folder))
    assert (cut, blank) == ("a.png", "b.png") and "damaged" in truncated and empty.startswith("is empty")
    assert len(faults(check_folder(folder, splits=["val"], max_pixels=100))) == 2


def test_jpeg_masks(folder: Path) -> None:
    Image.open(folder / "val/masks/d.png").save(folder / "val/masks/d.jpg")
    (folder / "val/masks/d.png").unlink()
    (_, file, message), (_, _, partner) = faults(check_folder(folder))
    assert file == "masks" and "found 1 others (.jpg)" in message and partner == "image without a mask"
    (folder / "val/masks/d.jpg").rename(folder / "val/masks/d.png")
    assert "export the mask as PNG" in only_fault(folder)[2]


def test_palette_masks_and_other_files_are_notes(folder: Path) -> None:
    for file in (folder / "train/masks").iterdir():
        image = Image.open(file)
        image.putpalette([7] * 768)
        image.save(file)
    (folder / "train/images/readme.txt").touch()
    report = check_folder(folder)
    assert report.ok
    unread, palette = report.notes
    assert unread.message == "1 files are not read (.txt)"
    assert palette.message.startswith("3 palette masks (first: a.png): their indices")


@pytest.mark.parametrize("kind", ["jpg", "tif"])
def test_exif_rotation_is_a_note(folder: Path, save_turned: Callable[..., Path], kind: str) -> None:
    (folder / "val/images/d.png").unlink()
    save_turned(folder / f"val/images/d.{kind}", np.zeros((12, 16, 3), np.uint8))
    report = check_folder(folder)
    (note,) = report.notes
    assert report.ok and "EXIF orientation 6" in note.message and "drawn on the upright image" in note.message
    save_turned(folder / "val/masks/d.png", np.asarray(Image.open(folder / "val/masks/d.png")))
    (note,) = check_folder(folder).notes
    assert "(6 and 6)" in note.message


def test_mask_drawn_on_the_stored_pixels_of_a_turned_photo(folder: Path, save_turned: Callable[..., Path]) -> None:
    (folder / "val/images/d.png").unlink()
    save_turned(folder / "val/images/d.jpg", np.zeros((16, 12, 3), np.uint8))
    assert "mask of 16 x 12 for an image of 12 x 16" in only_fault(folder)[2]
    assert len(check_folder(folder).notes) == 1


def test_labels_from_1(folder: Path) -> None:
    paint(folder, 1 + np.arange(192).reshape(12, 16) % 3, "val")
    assert "if the ids count from 1, subtract 1" in only_fault(folder)[2]
    paint(folder, 1, "val")
    (note,) = check_folder(folder).notes
    assert "subtract 1 from each" in note.message


def test_black_and_white_masks(folder: Path) -> None:
    two_classes(folder)
    for split in ("train", "val"):
        paint(folder, np.arange(192).reshape(12, 16) // 100 * 255, split)
    assert faults(check_folder(folder, splits=["val"])) == [
        (
            "val",
            "",
            "masks of 0 and 255, which is ignored: write the foreground as 1, or read it so with "
            '--layout-option remap="{255: 1}"',
        )
    ]
    assert check_data(folder, options={"remap": {255: 1}}).ok
    with pytest.raises(DataError, match="train: masks of 0 and 255, which is ignored"):
        require_trainable(folder, ["train"])


def test_nothing_to_learn(folder: Path) -> None:
    paint(folder, 255, "val")
    assert "every pixel is 255" in only_fault(folder)[2]


def test_what_check_refuses_training_refuses(folder: Path) -> None:
    paint(folder, 77)
    with pytest.raises(DataError, match=r"train/masks/a\.png: values outside.*b\.png.*c\.png.*featalign check-data"):
        require_trainable(folder, ["train"])
    with pytest.raises(DataError, match="values outside"):
        FolderDataset(folder, "train")[0]
    assert require_trainable(folder, ["val"]).ok


def test_progress_sees_every_pair(folder: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    def count(items: Iterable[T], *, total: int, description: str) -> Iterable[T]:
        listed = list(items)
        seen.append((description, total, len(listed)))
        return listed

    check_folder(folder, progress=count)
    assert seen == [("checking train", 3, 3), ("checking val", 1, 1)]


def test_no_folder_no_classes_no_split(folder: Path) -> None:
    with pytest.raises(DataError, match='no split "test"; found: train, val'):
        check_folder(folder, splits=["test"])
    shutil.rmtree(folder / "val")
    (folder / "classes.json").write_text("{")
    with pytest.raises(DataError, match=r"classes\.json: is not JSON"):
        check_folder(folder)
    with pytest.raises(DataError, match="nowhere: is neither a folder nor a zip file"):
        check_folder(folder / "nowhere")
