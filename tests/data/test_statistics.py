"""Mean and deviation of a data set's images, against those of all pixels put together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from featalign.data import SegmentationDataset, measured_normalization, normalize, open_dataset, train_transform
from featalign.errors import DataError

SIZES = [(7, 5), (4, 9), (11, 3), (6, 6)]
rng = np.random.default_rng(0)
DEEP = [
    rng.integers(low, 4096, (*size, 4)).astype(np.uint16) for low, size in zip((0, 800, 3000, 90), SIZES, strict=True)
]


def written(root: Path, images: list[NDArray[np.integer]]) -> Path:
    for kind in ("images", "masks"):
        (root / "train" / kind).mkdir(parents=True)
    for number, image in enumerate(images):
        np.save(root / "train" / "images" / f"{number}.npy", image)
        Image.fromarray(np.zeros(image.shape[:2], np.uint8)).save(root / "train" / "masks" / f"{number}.png")
    (root / "classes.json").write_text(json.dumps({"classes": [{"id": 0, "name": "ground"}]}))
    return root


def deep(root: Path, **options: object) -> SegmentationDataset:
    return open_dataset(written(root, DEEP), "train", channels=4, depth=16, **options)


@pytest.mark.parametrize("cache", [False, True])
def test_is_of_all_pixels(tmp_path, cache):
    dataset = deep(tmp_path, cache=cache)
    if cache:
        dataset.fill_cache()
    dataset.transform = train_transform(crop=2)  # has no part in it
    found = measured_normalization(dataset, scale=65535.0)
    pixels = np.concatenate([image.reshape(-1, 4) for image in DEEP]).astype(np.float64)
    np.testing.assert_allclose(np.array(found.mean) * 65535, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(np.array(found.std) * 65535, pixels.std(0), rtol=1e-12)
    assert found.depth == 16
    normalized = torch.cat(
        [normalize(torch.from_numpy(i.astype(np.float32)).permute(2, 0, 1), found).flatten(1) for i in DEEP], 1
    )
    torch.testing.assert_close(normalized.mean(1), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalized.std(1, correction=0), torch.ones(4), atol=1e-4, rtol=0)


class Counted:
    """101 images of one value each: their number."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 101

    def pixels(self, index: int) -> NDArray[np.integer]:
        self.read.append(index)
        return np.full((2, 2, 1), index, np.uint8)


def test_of_many_images_some_are_read_evenly_spread():
    found = measured_normalization(images := Counted(), at_most=5)
    assert sorted(images.read) == [0, 25, 50, 75, 100] and found.mean == (50 / 255,)


def test_a_channel_without_contrast_does_not_divide_by_zero(tmp_path):
    flat = np.stack([np.full((4, 4), 7), np.arange(16).reshape(4, 4), np.zeros((4, 4))], 2).astype(np.uint8)
    found = measured_normalization(open_dataset(written(tmp_path, [flat]), "train"))
    assert found.std[0] == found.std[2] == 1 / 255 and found.std[1] > 4 / 255


def test_unreadable_images(tmp_path):
    dataset = deep(tmp_path)
    (tmp_path / "train" / "images" / "2.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"2\.npy"):
        measured_normalization(dataset)
    dataset.on_error = "skip"
    pixels = np.concatenate([DEEP[i].reshape(-1, 4) for i in (0, 1, 3)])
    np.testing.assert_allclose(np.array(measured_normalization(dataset).mean) * 255, pixels.mean(0))
    assert list(dataset.skipped) == ["2"]
    for file in (tmp_path / "train" / "images").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DataError, match="none of 4 images can be read"):
        measured_normalization(dataset)
