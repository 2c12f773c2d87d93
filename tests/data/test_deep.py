"""Images of 16 bits per channel: read exactly, cropped in floating point, normalized by their own scale."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fabricate import fabricate
from PIL import Image
from torchvision import tv_tensors

from featalign.data import EndlessBatches, TrainingLoader, check_data, normalize, open_dataset, read_image
from featalign.data.transforms import crop_scaled_image, train_transform
from featalign.errors import ConfigError, DataError
from featalign.spec import Normalization

DEEP = np.random.default_rng(0).integers(0, 65536, (6, 8, 4), dtype=np.uint16)


def png16(write_png: Callable[..., Path], path: Path, pixels: np.ndarray) -> Path:
    color = {1: 0, 2: 4, 3: 2, 4: 6}[pixels.shape[2]]
    rows = [row.astype(">u2").tobytes() for row in pixels]
    return write_png(path, size=(pixels.shape[1], pixels.shape[0]), bits=16, color=color, rows=rows)


def test_tiffs_with_a_sign_or_several_pages_are_refused(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="needs featalign[geo]")
    signed, pages = tmp_path / "signed.tif", tmp_path / "pages.tif"
    with rasterio.open(signed, "w", driver="GTiff", width=2, height=1, count=1, dtype="int16") as file:
        file.write(np.array([[[-1000, -1]]], np.int16))
    first, second = (Image.fromarray(np.full((3, 4), value, np.uint16)) for value in (1, 2))
    first.save(pages, save_all=True, append_images=[second])
    with pytest.raises(DataError, match=r"signed\.tif: 16 bits with a sign"):
        read_image(signed, channels=1, depth=16)
    with pytest.raises(DataError, match=r"pages\.tif: 2 pages"):
        read_image(pages, channels=1, depth=16)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_is_read_exactly(tmp_path: Path, write_png: Callable[..., Path], channels: int) -> None:
    file = png16(write_png, tmp_path / "deep.png", DEEP[..., :channels])
    read = read_image(file, channels=channels, depth=16)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, DEEP[..., :channels])


def test_other_files_are_read_exactly(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", DEEP)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy", channels=4, depth=16), DEEP)
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels=1, depth=16), DEEP[..., :1])


def test_tiff_of_several_channels(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="writes and reads TIFF of 16 bits and several channels")
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=8, height=6, count=4, dtype="uint16") as raster:
        raster.write(DEEP.transpose(2, 0, 1))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels=4, depth=16), DEEP)
    with pytest.raises(DataError, match=r"a\.tif: 4 channels of uint16, expected 3"):
        read_image(tmp_path / "a.tif", depth=16)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_serves_as_three_channels(tmp_path: Path, write_png: Callable[..., Path], channels: int) -> None:
    pytest.importorskip("rasterio", reason="reads TIFF of 16 bits and several channels")
    png16(write_png, tmp_path / "a.png", DEEP[..., :1])
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "a.tif")
    for name in ("a.png", "a.tif"):
        read = read_image(tmp_path / name, channels=channels, depth=16)
        np.testing.assert_array_equal(read, np.repeat(DEEP[..., :1], channels, 2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiffs_of_several_channels_are_turned_upright_too(tmp_path: Path, orientation: int) -> None:
    """As Pillow turns one of a single channel."""
    rasterio = pytest.importorskip("rasterio", reason="reads TIFF of 16 bits and several channels")
    grey, many = tmp_path / "grey.tif", tmp_path / "many.tif"
    Image.fromarray(DEEP[..., 0]).save(grey, tiffinfo={274: orientation})
    with rasterio.open(many, "w", driver="GTiff", width=8, height=6, count=3, dtype="uint16") as raster:
        raster.write(DEEP[..., :3].transpose(2, 0, 1))
    _set_orientation(many, orientation)
    expected = read_image(grey, channels=1, depth=16)[..., 0]
    np.testing.assert_array_equal(read_image(many, channels=3, depth=16)[..., 0], expected)


def _set_orientation(path: Path, orientation: int) -> None:
    """Appends a directory with the tag to a little-endian TIFF, in place of its own."""
    content = bytearray(path.read_bytes())
    (offset,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, offset)
    entries = [bytes(content[offset + 2 + 12 * i :][:12]) for i in range(count)]
    entries.append(struct.pack("<HHIHH", 274, 3, 1, orientation, 0))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    content += bytes(len(content) % 2)
    struct.pack_into("<I", content, 4, len(content))
    content += struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    path.write_bytes(content)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_as_pillow_turns(tmp_path: Path, write_png: Callable[..., Path], orientation: int) -> None:
    file = png16(write_png, tmp_path / "turned.png", DEEP[..., :3])
    exif = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 274, 3, 1, orientation, 0) + bytes(4)
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    content = file.read_bytes()
    file.write_bytes(content[:33] + chunk + content[33:])
    grey = Image.fromarray(DEEP[..., 0])
    turns = [None, None, *(Image.Transpose(i) for i in (0, 3, 1, 5, 4, 6, 2))]
    turn = turns[orientation]
    expected = np.asarray(grey if turn is None else grey.transpose(turn))
    np.testing.assert_array_equal(read_image(file, depth=16)[..., 0], expected)


@pytest.mark.parametrize(
    ("array", "depth", "cure"),
    [
        (np.zeros((4, 5), np.uint8), 8, "save height, width and channels, in this order"),
        (np.zeros((4, 5, 2), np.uint8), 8, r"or train at data\.channels: 2"),
        (np.zeros((4, 5, 3), np.uint16), 8, r"scale it to 8 bits, or train a network .* at data\.depth: 16"),
        (np.zeros((4, 5, 3), np.uint8), 16, r"save it with 16 bits, or train at data\.depth: 8"),
        (np.zeros((4, 5, 3), np.float32), 8, "scale it to whole numbers, and save it as uint8"),
    ],
)
def test_arrays_of_another_kind_say_what_to_do(tmp_path: Path, array: np.ndarray, depth: int, cure: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=rf"a\.npy: {array.dtype} array of shape .*\(H, W, 3\); .*{cure}"):
        read_image(tmp_path / "a.npy", channels=3, depth=depth)


def test_depths_are_not_mixed_up(tmp_path: Path, write_png: Callable[..., Path]) -> None:
    deep = png16(write_png, tmp_path / "deep.png", DEEP[..., :3])
    Image.new("RGB", (4, 4)).save(tmp_path / "flat.png")
    with pytest.raises(DataError, match=r"deep\.png: more than 8 bits .*depth=16"):
        read_image(deep)
    with pytest.raises(
        DataError, match=r"flat\.png: 8 bits per channel \(RGB\), expected 16; save it with 16 bits, or .*depth=8"
    ):
        read_image(tmp_path / "flat.png", depth=16)
    for mode in ("F", "I"):
        Image.new(mode, (4, 4)).save(tmp_path / "wide.tif")
        with pytest.raises(DataError, match=rf"wide\.tif: 32 bits per channel \({mode}\); scale the values"):
            read_image(tmp_path / "wide.tif", channels=1, depth=16)
    with pytest.raises(DataError, match=r"deep\.png: 3 channels \(RGB\), expected 1"):
        read_image(deep, channels=1, depth=16)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="expected 16"):
        read_image(tmp_path / "a.jpg", depth=16)


@pytest.fixture
def deep_folder(tmp_path: Path, write_png: Callable[..., Path]) -> Path:
    root = fabricate("folder", tmp_path, size=(6, 8), images=4)
    for file in root.rglob("images/*.png"):
        png16(write_png, file, DEEP[..., :3])
    return root


@pytest.mark.parametrize("cache", [False, True])
def test_samples_hold_the_values(deep_folder: Path, cache: bool) -> None:
    assert check_data(deep_folder, depth=16).ok and not check_data(deep_folder).ok
    dataset = open_dataset(deep_folder, "train", depth=16, cache=cache)
    for _ in range(2):
        image = dataset[0]["image"]
        assert image.dtype == torch.float32
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), DEEP[..., :3])


def test_crop_is_bilinear_and_antialiased_in_floating_point() -> None:
    image = torch.from_numpy(DEEP.astype(np.float32)).permute(2, 0, 1)
    got = crop_scaled_image(image, (3, 4), (0, 0), (3, 4), [0])
    assert got.dtype == torch.float32 and got.shape == (4, 3, 4)
    want = torch.nn.functional.interpolate(image[None], (3, 4), mode="bilinear", antialias=True)[0]
    torch.testing.assert_close(got, want, atol=0.05, rtol=0)
    plain = crop_scaled_image(image, (6, 8), (1, 2), (3, 4), [0])
    assert torch.equal(plain, image[:, 1:4, 2:6])


def test_augmentation_and_normalization(deep_folder: Path) -> None:
    transform = train_transform(crop=(12, 12), scales=(0.5, 2.0), jitter=0.3)
    dataset = open_dataset(deep_folder, "train", depth=16, transform=transform)
    norm = Normalization.for_channels(3, depth=16)
    for batch in TrainingLoader(dataset, EndlessBatches(4, batch=2, seed=0, stop=3)):
        assert batch["image"].dtype == torch.float32 and batch["image"].max() > 300
        assert batch["image"].min() >= 0 and batch["image"].max() <= 65535
        assert normalize(batch["image"], norm).abs().max() < 3
    image = tv_tensors.Image(torch.full((3, 2, 2), 65535.0))
    torch.testing.assert_close(
        normalize(image, norm), normalize(torch.full((3, 2, 2), 255, dtype=torch.uint8), Normalization())
    )


def test_scale_must_fit_the_images(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"torch\.float32 images for a scale of 255; it expects uint8"):
        normalize(torch.zeros(3, 2, 2), Normalization())
    with pytest.raises(ConfigError, match=r"torch\.uint8 images for a scale of 65535"):
        normalize(torch.zeros(3, 2, 2, dtype=torch.uint8), Normalization.for_channels(3, depth=16))
    with pytest.raises(ConfigError, match="depth must be 8 or 16 bits per channel, got 12"):
        open_dataset(fabricate("folder", tmp_path), "train", depth=12)  # type: ignore[arg-type]
