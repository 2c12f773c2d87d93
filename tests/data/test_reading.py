from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from PIL import Image
from tiled_tiff import tiled_tiff

from featalign.data import DEFAULT_MAX_PIXELS, read_image, read_mask
from featalign.errors import DataError

FORMATS = ["jpg", "png", "tif", "bmp", "webp"]


def test_default_limit_is_where_pillow_speaks_of_an_attack() -> None:
    assert PIL.Image.MAX_IMAGE_PIXELS is not None
    assert DEFAULT_MAX_PIXELS == 2 * PIL.Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_missing_empty_foreign_and_folder(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image at all")
    (tmp_path / "folder.png").mkdir()
    faults = {"missing": "does not exist", "empty": "is empty", "text": "is not a JPEG", "folder": "cannot be read"}
    for name, fault in faults.items():
        with pytest.raises(DataError, match=rf"{name}\.png: .*{fault}"):
            read(tmp_path / f"{name}.png")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning", "ignore:Truncated File:UserWarning")
@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_anywhere_is_one_clear_line(tmp_path: Path, kind: str) -> None:
    whole = tmp_path / f"whole.{kind}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(whole)
    content = whole.read_bytes()
    cut = tmp_path / f"cut.{kind}"
    for length in [1, 7, 20, 60, 150, len(content) // 2, int(len(content) * 0.9)]:
        cut.write_bytes(content[:length])
        with pytest.raises(DataError, match=rf"cut\.{kind}: is ") as raised:
            read_image(cut)
        assert "\n" not in str(raised.value)
    assert read_image(whole).shape == (32, 32, 3)


def test_a_billion_pixels_are_refused_before_decoding(tmp_path: Path, write_png: Callable[..., Path]) -> None:
    file = write_png(tmp_path / "huge.png", size=(40_000, 30_000), bits=8, color=0, rows=[b""])
    for read in (read_image, read_mask):
        with pytest.raises(DataError, match=r"huge\.png: 40000 x 30000 = 1,200,000,000 .*--max-pixels 1200000000"):
            read(file)


def test_limit_counts_pixels(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.new("L", (5, 4)).save(file)
    assert read_mask(file, max_pixels=20).shape == (4, 5)
    with pytest.raises(DataError, match="5 x 4 = 20 pixels, more than the 19"):
        read_mask(file, max_pixels=19)


def test_limit_counts_a_tile_that_is_larger_than_its_image(tmp_path: Path) -> None:
    file = tmp_path / "a.tif"
    file.write_bytes(tiled_tiff(5, 4, 16))
    assert read_mask(file, max_pixels=256).shape == (4, 5)
    with pytest.raises(DataError, match="tiles of 16 x 16 = 256 pixels, more than the 255"):
        read_mask(file, max_pixels=255)
    file.write_bytes(tiled_tiff(5, 4, 60_000, written=9))
    with pytest.raises(DataError, match=r"a\.tif: tiles of 60000 x 60000"):
        read_mask(file)


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "bmp"])
def test_pillows_own_limit_is_neither_used_nor_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    file = tmp_path / f"a.{kind}"
    Image.new("RGB", (8, 8)).save(file)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(file).shape == (8, 8, 3)
    assert PIL.Image.MAX_IMAGE_PIXELS == 10
