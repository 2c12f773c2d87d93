from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featalign.data import read_image, read_mask
from featalign.data.reading import UnreadableError
from featalign.errors import DataError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = np.arange(35, dtype=np.uint8).reshape(5, 7)


def saved(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize("kind", ["png", "PNG", "tif", "tiff", "bmp"])
def test_rgb_is_read_as_stored(tmp_path: Path, kind: str) -> None:
    read = read_image(saved(tmp_path / f"a.{kind}", RGB))
    np.testing.assert_array_equal(read, RGB)
    assert read.dtype == np.uint8 and read.flags.writeable


@pytest.mark.parametrize("kind", ["jpg", "webp"])
def test_lossy_formats_are_close(tmp_path: Path, kind: str) -> None:
    smooth = np.full((16, 16, 3), (200, 30, 90), np.uint8)
    assert np.abs(read_image(saved(tmp_path / f"a.{kind}", smooth)).astype(int) - smooth).max() < 8


def test_grey_and_palette_become_rgb(tmp_path: Path) -> None:
    grey = read_image(saved(tmp_path / "grey.png", GREY))
    np.testing.assert_array_equal(grey, np.stack([GREY] * 3, -1))
    two_colors = np.zeros((4, 4, 3), np.uint8)
    two_colors[:2] = (250, 0, 10)
    Image.fromarray(two_colors).quantize(2).save(tmp_path / "palette.png")
    assert Image.open(tmp_path / "palette.png").mode == "P"
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), two_colors)
    np.testing.assert_array_equal(
        read_image(saved(tmp_path / "bits.png", GREY > 9)), np.stack([(GREY > 9) * 255] * 3, -1)
    )


def test_one_two_and_four_channels(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(saved(tmp_path / "l.png", GREY), channels=1), GREY[..., None])
    la = np.stack([GREY, GREY[::-1]], -1)
    np.testing.assert_array_equal(read_image(saved(tmp_path / "la.png", la), channels=2), la)
    rgba = np.dstack([RGB, GREY])
    np.testing.assert_array_equal(read_image(saved(tmp_path / "rgba.png", rgba), channels=4), rgba)


@pytest.mark.parametrize(
    ("mode", "kind", "channels", "message"),
    [
        ("RGBA", "png", 3, r'4 channels \(RGBA\), expected 3 \(RGB\).*convert\("RGB"\).*in_channels=4'),
        ("CMYK", "jpg", 3, r'4 channels \(CMYK\), expected 3 \(RGB\).*convert\("RGB"\)\)$'),
        ("CMYK", "tif", 4, r"4 channels \(CMYK\), expected 4 \(RGBA\)"),
        ("LA", "png", 3, r"2 channels \(LA\), expected 3"),
        ("RGB", "png", 1, r"3 channels \(RGB\), expected 1 .*in_channels=3"),
        ("RGB", "png", 4, r"3 channels \(RGB\), expected 4"),
        ("I;16", "png", 3, "more than 8 bits"),
        ("I;16", "tif", 1, "more than 8 bits"),
        ("F", "tif", 3, r"32 bits per channel \(F\); scale the values to 8 or 16 bits"),
        ("I", "tif", 1, r"32 bits per channel \(I\)"),
        ("RGB", "png", 5, r"expected 5 channels, which only \.npy"),
    ],
)
def test_other_channels_are_refused(tmp_path: Path, mode: str, kind: str, channels: int, message: str) -> None:
    file = tmp_path / f"odd.{kind}"
    Image.new(mode, (4, 4)).save(file)
    with pytest.raises(DataError, match=rf"odd\.{kind}: .*{message}"):
        read_image(file, channels=channels)


def test_16_bit_colours_are_refused_though_pillow_cuts_them(tmp_path: Path, write_png: Callable[..., Path]) -> None:
    file = write_png(tmp_path / "deep.png", size=(2, 1), bits=16, color=2, rows=[bytes(12)])
    assert np.asarray(Image.open(file)).dtype == np.uint8
    with pytest.raises(DataError, match=r"deep\.png: more than 8 bits"):
        read_image(file)


def test_tiff_with_channels_that_pillow_drops(tmp_path: Path) -> None:
    file = tmp_path / "infrared.tif"
    Image.frombytes("RGBX", (7, 5), np.dstack([RGB, GREY]).tobytes()).save(file)
    assert Image.open(file).mode == "RGB"
    with pytest.raises(DataError, match=r"4 channels of which only 3 .*\.npy"):
        read_image(file)


def test_tiff_of_several_pages(tmp_path: Path) -> None:
    first, second = Image.fromarray(GREY), Image.fromarray(GREY + 1)
    first.save(tmp_path / "pages.tif", save_all=True, append_images=[second])
    for read in (read_image, read_mask):
        with pytest.raises(DataError, match=r"pages\.tif: 2 pages, expected one"):
            read(tmp_path / "pages.tif")


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_animations(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"moving.{kind}"
    first, second = Image.fromarray(RGB), Image.fromarray(255 - RGB)
    first.save(file, save_all=True, append_images=[second], lossless=True)
    with pytest.raises(DataError, match=rf"moving\.{kind}: an animation of 2 pictures, expected one"):
        read_image(file)


def test_an_animated_mask(tmp_path: Path) -> None:
    first, second = Image.fromarray(GREY), Image.fromarray(GREY + 1)
    first.save(tmp_path / "moving.png", save_all=True, append_images=[second])
    with pytest.raises(DataError, match=r"moving\.png: an animation of 2 pictures"):
        read_mask(tmp_path / "moving.png")


def test_npy_holds_any_number_of_channels(tmp_path: Path) -> None:
    seven = np.random.default_rng(1).integers(0, 256, (4, 6, 7), dtype=np.uint8)
    np.save(tmp_path / "a.npy", seven)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy", channels=7), seven)
    with pytest.raises(DataError, match=r"a\.npy: uint8 array of shape \(4, 6, 7\), expected uint8 \(H, W, 3\)"):
        read_image(tmp_path / "a.npy")
    with pytest.raises(DataError, match="24 pixels"):
        read_image(tmp_path / "a.npy", channels=7, max_pixels=23)
    np.save(tmp_path / "float.npy", seven.astype(np.float32))
    with pytest.raises(DataError, match="float32 array"):
        read_image(tmp_path / "float.npy", channels=7)


def test_damaged_and_pickled_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RGB)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-5])
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name in ("cut", "objects", "missing"):
        with pytest.raises(DataError, match=rf"{name}\.npy: "):
            read_image(tmp_path / f"{name}.npy")


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_exif_turns_images_and_masks_alike(tmp_path: Path, save_turned: Callable[..., Path], kind: str) -> None:
    np.testing.assert_array_equal(read_image(save_turned(tmp_path / f"image.{kind}", RGB)), RGB)
    np.testing.assert_array_equal(read_mask(save_turned(tmp_path / f"mask.{kind}", GREY)), GREY)


def test_exif_of_a_camera_jpeg(tmp_path: Path, save_turned: Callable[..., Path]) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:, :16] = 250
    read = read_image(save_turned(tmp_path / "photo.jpg", upright)).astype(int)
    assert read.shape == (16, 32, 3) and np.abs(read - upright).max() < 10


@pytest.mark.parametrize("kind", ["png", "tif", "bmp"])
def test_masks_of_8_bits(tmp_path: Path, kind: str) -> None:
    read = read_mask(saved(tmp_path / f"m.{kind}", GREY))
    np.testing.assert_array_equal(read, GREY)
    assert read.dtype == np.uint8


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_masks_of_16_bits(tmp_path: Path, kind: str) -> None:
    ids = (GREY.astype(np.uint16) * 1000) + 7
    read = read_mask(saved(tmp_path / f"m.{kind}", ids))
    np.testing.assert_array_equal(read, ids)
    assert read.dtype == np.uint16


def test_palette_masks_are_indices_not_colours(tmp_path: Path) -> None:
    image = Image.fromarray(GREY % 3)
    image.putpalette([0, 0, 0, 200, 10, 10, 10, 200, 10])
    image.save(tmp_path / "p.png")
    assert Image.open(tmp_path / "p.png").mode == "P"
    np.testing.assert_array_equal(read_mask(tmp_path / "p.png"), GREY % 3)


def test_masks_of_1_bit_are_0_and_1(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_mask(saved(tmp_path / "bits.png", GREY > 9)), GREY > 9)


@pytest.mark.parametrize(
    ("bits", "packed", "ids"), [(2, 0b00_01_10_11, [0, 1, 2, 3]), (4, 0x05AF, [0, 5, 10, 15])], ids=["2 bits", "4 bits"]
)
def test_masks_of_few_bits_are_not_stretched(
    tmp_path: Path, write_png: Callable[..., Path], bits: int, packed: int, ids: list[int]
) -> None:
    row = packed.to_bytes(bits // 2, "big")
    file = write_png(tmp_path / "few.png", size=(4, 1), bits=bits, color=0, rows=[row])
    assert read_mask(file).tolist() == [ids]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_masks_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "m.png")
    with pytest.raises(
        DataError, match=rf"m\.png: . channels \({mode}\): looks like a colour mask; write one class id"
    ):
        read_mask(tmp_path / "m.png")


@pytest.mark.parametrize(("format", "options"), [("JPEG", {}), ("WEBP", {}), ("TIFF", {"compression": "jpeg"})])
def test_lossy_masks_are_refused_whatever_their_name(tmp_path: Path, format: str, options: dict[str, str]) -> None:
    Image.fromarray(GREY).save(tmp_path / "m.png", format=format, **options)
    with pytest.raises(DataError, match=r"m\.png: .*export the mask as PNG"):
        read_mask(tmp_path / "m.png")


def test_overviews_are_no_further_pages(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="needs featalign[geo]")
    file = tmp_path / "tile.tif"
    with rasterio.open(file, "w", driver="GTiff", width=64, height=64, count=1, dtype="uint8") as tile:
        tile.write(np.arange(4096, dtype=np.uint8).reshape(1, 64, 64))
        tile.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
    assert Image.open(file).n_frames == 3
    for read in (read_image, read_mask):
        np.testing.assert_array_equal(read(file).reshape(64, 64, -1)[..., 0].ravel(), np.arange(4096) % 256)


def test_masks_whose_zero_is_white_are_refused(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="needs featalign[geo]")
    for name, photometric in (("white.tif", "MINISWHITE"), ("black.tif", "MINISBLACK")):
        options = {"width": 7, "height": 5, "count": 1, "dtype": "uint8", "photometric": photometric}
        with rasterio.open(tmp_path / name, "w", driver="GTiff", **options) as file:
            file.write(GREY[None])
    np.testing.assert_array_equal(read_mask(tmp_path / "black.tif"), GREY)
    with pytest.raises(DataError, match=r"white\.tif: 0 is white .* save it as PNG"):
        read_mask(tmp_path / "white.tif")


@pytest.mark.parametrize("cloud", [False, True])
def test_masks_of_transparency_are_no_further_pages(tmp_path: Path, cloud: bool) -> None:
    rasterio = pytest.importorskip("rasterio", reason="needs featalign[geo]")
    plain, file = tmp_path / "tile.tif", tmp_path / "cloud.tif"
    pixels = np.random.default_rng(1).integers(0, 256, (3, 64, 64), dtype=np.uint8)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(plain, "w", driver="GTiff", width=64, height=64, count=3, dtype="uint8", tiled=True) as tile,
    ):
        tile.write(pixels)
        tile.write_mask(np.eye(64, dtype=np.uint8) * 255)
    if cloud:
        importlib.import_module("rasterio.shutil").copy(plain, file, driver="COG", blocksize=32, overview_count=1)
        plain = file
    np.testing.assert_array_equal(read_image(plain).transpose(2, 0, 1), pixels)


def test_tiffs_that_pillow_does_not_know_are_told_from_damaged_ones(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="needs featalign[geo]")
    for name, options, message in (
        ("deep.tif", {"count": 6, "dtype": "uint16"}, r"6 channels with 16 bits each.*depth=16 and channels=6"),
        ("many.tif", {"count": 6, "dtype": "uint8"}, r"6 channels with 8 bits each.*\.npy"),
        ("lerc.tif", {"count": 3, "dtype": "uint8", "compress": "LERC"}, "compression 34887 is not read"),
    ):
        with rasterio.open(tmp_path / name, "w", driver="GTiff", width=7, height=5, **options) as file:
            file.write(np.ones((options["count"], 5, 7), options["dtype"]))
        with pytest.raises(DataError, match=message) as raised:
            read_image(tmp_path / name)
        assert not isinstance(raised.value, UnreadableError)  # which on_error=skip would leave out


def test_masks_of_floating_point_values_are_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "mask.tif")
    with pytest.raises(DataError, match="floating-point values"):
        read_mask(tmp_path / "mask.tif")
