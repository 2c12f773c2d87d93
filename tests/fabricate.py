"""Tiny data sets in the layouts of the benchmarks, drawn at random, for tests that need one of the right shape."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featalign.data import class_table
from featalign.data.layouts import LAYOUTS

Size = tuple[int, int]
Options = Mapping[str, Any]


def fabricate(
    layout: str, root: Path, *, options: Options | None = None, size: Size = (64, 96), images: int = 2
) -> Path:
    """``images`` images a split in ``layout`` under ``root``, as ``options`` of the layout have it; returns ``root``.

    Labels are bands of a few of the layout's classes (the first ones, shifted from image to image) with a border of
    ignored pixels, so that every image has several classes; images show them as brightness, and noise.
    """
    _WRITERS[layout](root, LAYOUTS[layout].settings(options), size, images)
    return root


def as_zip(folder: Path, archive: Path) -> Path:
    """``folder``'s content as a zip file."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))
    return archive


def draw(values: list[int], ignored: int | None, size: Size, number: int) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 3) and a mask (H, W) of bands of ``values`` in a frame of ``ignored``."""
    random = np.random.default_rng(number)
    columns = np.arange(size[1]) * 4 // size[1] + number
    bands = np.broadcast_to(columns % len(values), size)
    mask = np.array(values)[bands]
    if ignored is not None:
        mask[0], mask[:, 0] = ignored, ignored
    brightness = (bands % 8 * 30)[..., None] + random.integers(0, 20, (*size, 3))
    return brightness.astype(np.uint8), mask


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array if array.ndim == 3 or array.max() > 255 else array.astype(np.uint8)).save(path)


def _folder(root: Path, options: Options, size: Size, images: int) -> None:
    for split, number in _numbered(("train", "val", "test"), images):
        image, mask = draw([0, 1, 2], 255, size, number)
        save(root / split / "images" / f"{number:03}.png", image)
        save(root / split / "masks" / f"{number:03}.png", mask)
    if options["classes"] is None:
        classes = [{"id": i, "name": name} for i, name in enumerate(("sky", "road", "car"))]
        (root / "classes.json").write_text(json.dumps({"classes": classes}))


def _cityscapes(root: Path, options: Options, size: Size, images: int) -> None:
    truth = {"fine": "gtFine", "coarse": "gtCoarse"}[options["annotations"]]
    splits = ("train", "val") if truth == "gtFine" else ("train", "val", "train_extra")
    stored = list(class_table("cityscapes").stored)
    for split, number in _numbered(splits, images):
        stem = f"aachen_{number:06}_000019"
        image, mask = draw([stored[i] for i in (0, 2, 10, 13, 18)], 4, size, number)
        save(root / "leftImg8bit" / split / "aachen" / f"{stem}_leftImg8bit.png", image)
        folder = root / truth / split / "aachen"
        save(folder / f"{stem}_{truth}_labelIds.png", mask)
        number = np.arange(size[0])[:, None] * 4 // size[0]  # 0: a group; above: three objects of each class
        objects = np.where(np.isin(mask, (26, 33)) & (number > 0), mask * 1000 + number, mask)
        save(folder / f"{stem}_{truth}_instanceIds.png", objects.astype(np.uint16))
        train_ids = np.array([stored.index(v) if v in stored else 255 for v in range(34)])[mask]
        save(folder / f"{stem}_{truth}_labelTrainIds.png", train_ids)


def _ade20k(root: Path, options: Options, size: Size, images: int) -> None:
    shift = options["labels"] == "reduced"
    for split, number in _numbered(("training", "validation"), images):
        image, mask = draw([v - shift for v in (1, 3, 5, 150)], 255 if shift else 0, size, number)
        save(root / "images" / split / f"ADE_{split}_{number:08}.jpg", image)
        save(root / "annotations" / split / f"ADE_{split}_{number:08}.png", mask)


def _voc(root: Path, options: Options, size: Size, images: int) -> None:
    kit = root / "VOCdevkit" / "VOC2012"
    colors = [*class_table("voc").classes.colors, *[(0, 0, 0)] * 234, (224, 224, 192)]
    for split, number in _numbered(("train", "val"), images):
        image, mask = draw([0, 2, 15, 20], 255, size, number)
        save(kit / "JPEGImages" / f"2012_{number:06}.jpg", image)
        _append(kit / "ImageSets" / "Segmentation" / f"{split}.txt", f"2012_{number:06}")
        path = kit / options["masks"] / f"2012_{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        palette = Image.fromarray(mask.astype(np.uint8))
        palette.putpalette([value for color in colors for value in color])
        (palette.convert("RGB") if options["colors"] else palette).save(path)


def _pascal_context(root: Path, options: Options, size: Size, images: int) -> None:
    kit = root / "VOCdevkit" / "VOC2010"
    regions, listed = [], []
    rows = [class_table("pascal_context").rows[i] for i in (0, 40, 46, 58)]
    form = options["annotations"]
    for split, number in _numbered(("train", "val"), images):
        name = f"2010_{number:06}"
        numbers = [row["stored" if form in ("auto", "png") else "original"] for row in rows]
        image, mask = draw(numbers, 0, size, number)
        save(kit / "JPEGImages" / f"{name}.jpg", image)
        extent = {"height": size[0], "width": size[1]}
        listed.append({"file_name": f"{name}.jpg", "image_id": number, **extent, "phase": split})
        regions += [
            {"id": number * 100 + v, "image_id": number, "category_id": int(v), "segmentation": _runs(mask == v)}
            for v in np.unique(mask[mask > 0])
        ]
        if form != "json":
            _append(kit / "ImageSets" / "SegmentationContext" / f"{split}.txt", name)
        if form == "mat":
            _save_mat(kit / "trainval" / f"{name}.mat", LabelMap=mask.astype(np.uint16))
        elif form != "json":
            save(kit / "SegmentationClassContext" / f"{name}.png", mask)
    if form == "json":
        (kit / "trainval_merged.json").write_text(
            json.dumps({"images": listed, "annos_segmentation": regions, "categories": []}, default=int)
        )


def _coco_stuff10k(root: Path, options: Options, size: Size, images: int) -> None:
    for split, number in _numbered(("train", "test"), images):
        name = f"COCO_train2014_{number:012}"
        image, mask = draw([1, 19, 125, 182], 0, size, number)
        save(root / "images" / f"{name}.jpg", image)
        _save_mat(root / "annotations" / f"{name}.mat", S=mask.astype(np.uint16))
        _append(root / "imageLists" / f"{split}.txt", name)


def _coco_stuff164k(root: Path, options: Options, size: Size, images: int) -> None:
    renumbered = options["labels"] == "renumbered"
    values, ending = ([0, 17, 113, 170], "_labelTrainIds") if renumbered else ([0, 18, 124, 181], "")
    for split, number in _numbered(("train2017", "val2017"), images):
        image, mask = draw(values, 255, size, number)
        save(root / "images" / split / f"{number:012}.jpg", image)
        save(root / "annotations" / split / f"{number:012}{ending}.png", mask)


def _camvid(root: Path, options: Options, size: Size, images: int) -> None:
    for split, number in _numbered(("train", "val", "test"), images):
        image, mask = draw([0, 1, 3, 10], 11, size, number)
        save(root / split / f"0001TP_{number:06}.png", image)
        save(root / f"{split}annot" / f"0001TP_{number:06}.png", mask)


def _patterns(root: Path, options: Options, size: Size, images: int) -> None:
    for split, number in _numbered(("train", "val"), images):
        image, mask = draw([0, 1, 2], 255, size, number)
        for part, array in (("images", image), ("masks", mask)):
            save(root / options[part].format(split=split, name=f"{number:03}"), array)
    if options["classes"] is None:
        classes = [{"id": i, "name": name} for i, name in enumerate(("sky", "road", "car"))]
        (root / "classes.json").write_text(json.dumps({"classes": classes}))


def _numbered(splits: tuple[str, ...], images: int) -> list[tuple[str, int]]:
    return [(split, s * images + i) for s, split in enumerate(splits) for i in range(images)]


def _append(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(line + "\n")


def _save_mat(path: Path, **matrices: np.ndarray) -> None:
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, matrices, do_compression=True)


def _runs(mask: np.ndarray) -> dict[str, Any]:
    """Run lengths column by column, beginning with the zeros."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1]))
    return {"size": list(mask.shape), "counts": np.diff(edges, prepend=0).tolist()}


_WRITERS: dict[str, Callable[[Path, Options, Size, int], None]] = {
    "folder": _folder,
    "cityscapes": _cityscapes,
    "ade20k": _ade20k,
    "voc": _voc,
    "pascal_context": _pascal_context,
    "coco_stuff10k": _coco_stuff10k,
    "coco_stuff164k": _coco_stuff164k,
    "camvid": _camvid,
    "patterns": _patterns,
}
