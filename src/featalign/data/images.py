"""Image and mask files as arrays. What a file holds is never guessed, narrowed or dropped in silence.

Orientation: an EXIF orientation is applied, to images and masks alike, so that arrays are upright as viewers show them.
A mask without EXIF must therefore have been drawn on the upright image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps
from PIL.Image import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from featalign.data.reading import DEFAULT_MAX_PIXELS, check_pixels, naming, opened
from featalign.errors import DataError

_MODES = {1: ("L", "1"), 2: ("LA",), 3: ("RGB", "L", "1", "P", "YCbCr"), 4: ("RGBA",)}
"""Pillow modes that serve an image of n channels; the first is the one they are converted to."""

_ORIENTATION, _SAMPLES_PER_PIXEL = 274, 277
"""Tags of TIFF; the first is EXIF's, too."""

_LABEL_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")
_LABEL_FORMATS = ("PNG", "TIFF", "BMP")
_LOSSY_COMPRESSION = ("jpeg", "tiff_jpeg", "webp")


def read_image(path: Path | str, *, channels: int = 3, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """An image file as uint8 (H, W, channels).

    Accepted: JPEG, PNG, TIFF, BMP and WebP with 8 bits per channel. ``channels=3`` reads RGB, and grey or palette
    images as RGB; 1 reads grey; 2 grey with alpha; 4 RGBA. Any number of channels: ``.npy`` files, uint8 (H, W, C).
    ``max_pixels`` is the largest height times width that is decoded.

    Raises:
        DataError: naming the file, if it is missing, damaged or too large, or has other channels or more than 8 bits.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return _read_npy(path, channels=channels, max_pixels=max_pixels)
    with opened(path, max_pixels=max_pixels) as image:
        return image_array(image, channels=channels)[0]


def read_mask(path: Path | str, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.integer]:
    """A mask file as an integer (H, W) array of the values stored: uint8, uint16 or int32.

    Accepted: PNG, TIFF and BMP with one channel of 1 to 16 bits (32 in TIFF), or a palette, of which the indices are
    read and never the colours. Values of 2- and 4-bit files are read as stored (0 … 3, 0 … 15).

    Raises:
        DataError: naming the file, if it is missing, damaged or too large, has colours, or is compressed with loss.
    """
    with opened(Path(path), max_pixels=max_pixels) as image:
        return mask_array(image)[0]


def image_array(image: ImageFile, *, channels: int) -> tuple[NDArray[np.uint8], int]:
    """The pixels of a file just opened, see :func:`read_image`, and the EXIF orientation (1 … 8) they had in it."""
    modes = _MODES.get(channels)
    if modes is None:
        raise DataError(f"expected {channels} channels, which only .npy files (uint8, height x width x channels) have")
    _check_depth(image)
    _check_pages(image)
    if image.mode not in modes:
        raise DataError(_other_channels(image.mode, len(image.getbands()), channels))
    upright, orientation = _upright(image)
    pixels = np.array(upright.convert(modes[0]), dtype=np.uint8)
    return pixels.reshape(upright.height, upright.width, channels), orientation


def mask_array(image: ImageFile) -> tuple[NDArray[np.integer], int]:
    """The class ids of a file just opened, see :func:`read_mask`, and the EXIF orientation (1 … 8) they had in it."""
    if image.format not in _LABEL_FORMATS or image.info.get("compression") in _LOSSY_COMPRESSION:
        raise DataError("this compression changes class ids (JPEG and WebP lose detail); export the mask as PNG")
    if image.mode not in _LABEL_MODES:
        raise DataError(
            f"{len(image.getbands())} channels ({image.mode}): looks like a colour mask; write one class id per pixel "
            "as an 8-bit grey or palette PNG"
        )
    _check_pages(image)
    stretch = _stretch(image)
    upright, orientation = _upright(image)
    ids = np.array(upright)
    native = np.uint8 if ids.dtype == np.bool_ else ids.dtype.newbyteorder("=")
    return ids.astype(native) // stretch, orientation


def _read_npy(path: Path, *, channels: int, max_pixels: int) -> NDArray[np.uint8]:
    with naming(path):
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        if stored.ndim != 3 or stored.dtype != np.uint8 or stored.shape[2] != channels:
            raise DataError(f"{stored.dtype} array of shape {stored.shape}, expected uint8 (H, W, {channels})")
        check_pixels(*stored.shape[:2], max_pixels=max_pixels)
        return np.array(stored)


def _upright(image: ImageFile) -> tuple[Image, int]:
    """Pillow turns a TIFF while it decodes it and then forgets the tag; other formats may state it after the pixels."""
    header = image.tag_v2.get(_ORIENTATION, 1) if isinstance(image, TiffImageFile) else 1
    image.load()
    stated = max(header, image.getexif().get(_ORIENTATION, 1))
    return ImageOps.exif_transpose(image), stated if stated in range(1, 9) else 1


def _check_depth(image: ImageFile) -> None:
    """Pillow would cut 16-bit colours to 8 bits, and leave out a TIFF's further channels, without a word."""
    if ";16" in _raw_mode(image) or image.mode.startswith(("I", "F")):
        raise DataError(
            f"more than 8 bits per channel ({image.mode}); scale it to 8 bits, as 16-bit files differ in range"
        )
    if isinstance(image, TiffImageFile):
        stored, read = image.tag_v2.get(_SAMPLES_PER_PIXEL, 1), len(image.getbands())
        if stored != read:
            raise DataError(
                f"{stored} channels of which only {read} can be read from TIFF; save it as .npy, uint8 (H, W, C)"
            )


def _check_pages(image: ImageFile) -> None:
    if isinstance(image, TiffImageFile) and image.n_frames > 1:
        raise DataError(f"{image.n_frames} pages, expected one; split it, or save channels as .npy, uint8 (H, W, C)")


def _other_channels(mode: str, got: int, expected: int) -> str:
    target = _MODES[expected][0]
    fits = next((n for n, modes in _MODES.items() if mode == modes[0]), None)
    other = f", or build the model with in_channels={fits} and read {fits} channels" if fits else ""
    return f'{got} channels ({mode}), expected {expected} ({target}); convert it (Pillow: .convert("{target}")){other}'


def _stretch(image: ImageFile) -> int:
    """Pillow stretches 2- and 4-bit grey to 0 … 255: by how much."""
    raw = _raw_mode(image)
    return 85 if raw.startswith("L;2") else 17 if raw.startswith("L;4") else 1


def _raw_mode(image: ImageFile) -> str:
    """How the pixels are packed in the file, in Pillow's terms; empty where a reader decodes to 8 bits only (WebP)."""
    arguments = image.tile[0][3] if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments or "")
