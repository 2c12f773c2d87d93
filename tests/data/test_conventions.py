"""Labels of another convention than the one expected: each ends in a message that names the cure, which then works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fabricate import fabricate
from PIL import Image

from featalign.data import check_data, open_dataset
from featalign.errors import ConfigError, DataError


def repaint(root: Path, pattern: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change the values of every mask of the pattern."""
    files = list(root.rglob(pattern))
    assert files
    for file in files:
        Image.fromarray(change(np.asarray(Image.open(file))).astype(np.uint8)).save(file)


def reason(root: Path, **options: Any) -> str:
    """Why the set is refused, from check and, where a single file shows it, from reading."""
    report = check_data(root, options=options)
    assert not report.ok
    return report.errors[0].message


def test_labels_from_1(tmp_path: Path) -> None:
    root = fabricate("folder", tmp_path)
    repaint(root, "masks/*.png", lambda mask: np.where(mask == 255, 0, mask + 1))
    assert "--layout-option reduce_zero=true" in reason(root)
    with pytest.raises(DataError, match=r"masks/000\.png: values outside the classes: 3 .*--layout-option shift=-1"):
        open_dataset(root, "train")[0]
    assert check_data(root, options={"reduce_zero": True}).ok
    report = check_data(root, options={"reduce_zero": True})
    assert report.labels == "stored values 1 … 3 -> 0 … 2 (sky … car); ignored: 0, 255"
    assert set(open_dataset(root, "train", options={"reduce_zero": True})[0]["mask"].unique().tolist()) == {
        0,
        1,
        2,
        255,
    }
    repaint(root, "masks/*.png", lambda mask: np.maximum(mask, 1))
    assert check_data(root, options={"shift": -1}).ok


def test_black_and_white(tmp_path: Path) -> None:
    root = fabricate("folder", tmp_path, options={"classes": ["not", "cell"]})
    repaint(root, "masks/*.png", lambda mask: (mask == 1) * 255)
    assert '--layout-option remap="{255: 1}"' in reason(root, classes=["not", "cell"])
    options = {"classes": ["not", "cell"], "remap": {255: 1}}
    assert check_data(root, options=options).ok
    assert check_data(root, options=options).labels == "stored values 0 … 1 -> 0 … 1 (not … cell), 255->1 cell"
    assert set(open_dataset(root, "train", options=options)[0]["mask"].unique().tolist()) == {0, 1}


def test_rgb_masks(tmp_path: Path) -> None:
    root = fabricate("voc", tmp_path, options={"colors": True})
    assert "looks like a colour mask" in reason(root) and "--layout-option colors=true" in reason(root)
    assert check_data(root, options={"colors": True}).ok
    repaint(root, "SegmentationClass/*.png", lambda mask: mask // 2 + 1)
    with pytest.raises(DataError, match=r"2012_000000\.png: . colours of no class: \(.*without antialiasing"):
        list(open_dataset(root, "train", options={"colors": True}))


def test_rgb_masks_with_alpha(tmp_path: Path) -> None:
    """Editors save them so; what shows through has no colour."""
    root = fabricate("voc", tmp_path, options={"colors": True})
    plain = open_dataset(root, "train", options={"colors": True})[0]["mask"]
    for file in root.rglob("SegmentationClass/*.png"):
        Image.open(file).convert("RGBA").save(file)
    assert torch.equal(open_dataset(root, "train", options={"colors": True})[0]["mask"], plain)
    for file in root.rglob("SegmentationClass/*.png"):
        image = Image.open(file)
        image.putpixel((0, 0), (0, 0, 0, 9))
        image.save(file)
    with pytest.raises(DataError, match=r"\.png: 1 pixels are transparent"):
        open_dataset(root, "train", options={"colors": True})[0]


@pytest.mark.parametrize(("shift", "meant"), [(0, "aeroplane"), (100, "no class")])
def test_palette_whose_indices_are_no_classes(tmp_path: Path, shift: int, meant: str) -> None:
    root = fabricate("voc", tmp_path)
    for file in root.rglob("SegmentationClass/*.png"):  # as an image editor saves it: colours kept, indices new
        image = Image.open(file).convert("RGB").quantize(8)
        moved = Image.fromarray(np.asarray(image) + shift)
        moved.putpalette([1] * 3 * shift + (image.getpalette() or []))
        moved.save(file)
    assert f"stands for {meant} but has the colour of" in reason(root) and "--layout-option colors=true" in reason(root)
    assert check_data(root, options={"colors": True}).ok


def test_train_ids_given_as_label_ids(tmp_path: Path) -> None:
    root = fabricate("cityscapes", tmp_path)
    for file in root.rglob("*_labelTrainIds.png"):
        file.replace(file.with_name(file.name.replace("labelTrainIds", "labelIds")))
    assert "these are trainIds" in reason(root) and "--layout-option labels=trainIds" in reason(root)
    repaint(root, "*_labelIds.png", lambda mask: np.where(mask == 255, 0, mask))
    assert "no value above 18 in the whole split: these are trainIds" in reason(root)


def test_label_ids_given_as_train_ids(tmp_path: Path) -> None:
    root = fabricate("cityscapes", tmp_path)
    for file in root.rglob("*_labelIds.png"):
        file.replace(file.with_name(file.name.replace("labelIds", "labelTrainIds")))
    assert "--layout-option labels=labelIds" in reason(root, labels="trainIds")
    assert "createTrainIdLabelImgs" not in reason(root, labels="trainIds")
    for file in root.rglob("*_labelTrainIds.png"):
        file.unlink()
    assert "holds no *_gtFine_labelTrainIds.png; cityscapesScripts'" in reason(root, labels="trainIds")


@pytest.mark.parametrize(
    ("layout", "pattern", "change", "cure", "options"),
    [
        ("ade20k", "annotations/*/*.png", lambda m: m.astype(int) - 1, "labels=reduced", {"labels": "reduced"}),
        ("camvid", "*annot/*.png", lambda m: np.where(m == 11, 255, m), "SPLIT/images, SPLIT/masks", None),
        (
            "coco_stuff164k",
            "annotations/*/*.png",
            lambda m: np.where(m == 255, 0, np.minimum(m, 181) + 1),
            "count from 1: subtract 1",
            None,
        ),
        (
            "coco_stuff164k",
            "annotations/*/*.png",
            lambda m: np.where(m == 181, 170, np.where(m == 18, 11, m)),
            "labels=renumbered",
            {"labels": "renumbered"},
        ),
        ("pascal_context", "SegmentationClassContext/*.png", lambda m: m.astype(int) - 1, "add it again", None),
        ("voc", "SegmentationClass/*.png", lambda m: np.where(m == 15, 77, m), "SegmentationObject", None),
    ],
)
def test_published_masks_that_were_changed(
    tmp_path: Path,
    layout: str,
    pattern: str,
    change: Callable[[np.ndarray], np.ndarray],
    cure: str,
    options: dict[str, Any] | None,
) -> None:
    root = fabricate(layout, tmp_path)
    repaint(root, pattern, change)
    assert cure in reason(root)
    if options:
        assert check_data(root, options=options).ok


def test_options_that_contradict(tmp_path: Path) -> None:
    root = fabricate("folder", tmp_path)
    for options, message in [
        ({"reduce_zero": True, "shift": -1}, "give it or shift, not both"),
        ({"remap": {7: 9}}, r"7 -> 9, but the classes are 0 … 2"),
        ({"remap": "255:1"}, "must map stored values to class ids"),
        ({"shift": 0.5}, "must be a whole number"),
        ({"classes": "road"}, "option classes must be names, such as .*, or a number, got 'road'"),
        ({"classes": 0}, "or a number, got 0"),
    ]:
        with pytest.raises(ConfigError, match=message):
            open_dataset(root, "train", options=options)
