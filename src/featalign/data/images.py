"""Image and mask files as arrays. What a file holds is never guessed, narrowed or dropped in silence.

Orientation: an EXIF orientation is applied, to images and masks alike, so that arrays are upright as viewers show them.
A mask without EXIF must therefore have been drawn on the upright image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from featalign.data import tiff
from featalign.data.deep import load_deep, open_npy
from featalign.data.files import File
from featalign.data.header import DEEPER, check_narrow, check_pages, is_inverted, raw_mode, upright
from featalign.data.reading import DEFAULT_MAX_PIXELS, opened
from featalign.errors import ConfigError, DataError
from featalign.spec import Color, Depth

_MODES = {1: ("L", "1"), 2: ("LA",), 3: ("RGB", "L", "1", "P", "YCbCr"), 4: ("RGBA",)}
"""Pillow modes that serve an image of n channels; the first is the one they are converted to."""

_LABEL_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")
_LABEL_FORMATS = ("PNG", "TIFF", "BMP")
_LOSSY_COMPRESSION = ("jpeg", "tiff_jpeg", "webp")


def parse_depth(bits: int) -> Depth:
    """``bits`` as a depth. Raises ConfigError if it is neither 8 nor 16."""
    if bits == 8:
        return 8
    if bits == 16:
        return 16
    raise ConfigError(f"depth must be 8 or 16 bits per channel, got {bits!r}")


@dataclass(frozen=True)
class Loaded:
    """The pixels of a file, upright; the EXIF orientation (1 … 8) they had in it; the palette they index, if any."""

    pixels: NDArray[np.integer]
    orientation: int = 1
    palette: tuple[Color, ...] | None = None


@overload
def read_image(
    path: File | str, *, channels: int = 3, depth: Literal[8] = 8, max_pixels: int = DEFAULT_MAX_PIXELS
) -> NDArray[np.uint8]: ...
@overload
def read_image(
    path: File | str, *, channels: int = 3, depth: Depth, max_pixels: int = DEFAULT_MAX_PIXELS
) -> NDArray[np.integer]: ...
def read_image(
    path: File | str, *, channels: int = 3, depth: Depth = 8, max_pixels: int = DEFAULT_MAX_PIXELS
) -> NDArray[np.integer]:
    """An image file as uint8 (H, W, channels), or uint16 where ``depth`` is 16.

    Accepted with 8 bits: JPEG, PNG, TIFF, BMP and WebP. ``channels=3`` reads RGB, and grey or palette images as RGB;
    1 reads grey; 2 grey with alpha; 4 RGBA. With 16 bits: PNG of these channels; grey TIFF; TIFF of any channels where
    rasterio is installed. Any number of channels: ``.npy`` files (H, W, C) of the depth's type. Values are those
    stored, never scaled. ``max_pixels`` is the largest height times width that is decoded.

    Raises:
        DataError: naming the file, if it is missing, damaged or too large, or has other channels or another depth.
    """
    file = Path(path) if isinstance(path, str) else path
    return load_image(file, channels=channels, depth=depth, max_pixels=max_pixels).pixels


def read_mask(path: File | str, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.integer]:
    """A mask file as an integer (H, W) array of the values stored: uint8, uint16 or int32.

    Accepted: PNG, TIFF and BMP with one channel of 1 to 16 bits (32 in TIFF), or a palette, of which the indices are
    read and never the colours. Values of 2- and 4-bit files are read as stored (0 … 3, 0 … 15).

    Raises:
        DataError: naming the file, if it is missing, damaged or too large, has colours, or is compressed with loss.
    """
    return load_mask(Path(path) if isinstance(path, str) else path, max_pixels).pixels


def load_image(file: File, *, channels: int, depth: Depth = 8, max_pixels: int) -> Loaded:
    """:func:`read_image`, with what else the file says."""
    if file.suffix.lower() == ".npy":
        return Loaded(open_npy(file, channels=channels, depth=depth, max_pixels=max_pixels))
    if depth == 16:
        return Loaded(*load_deep(file, channels=channels, max_pixels=max_pixels))
    with opened(file, max_pixels=max_pixels) as image:
        return _image_array(image, channels=channels)


def load_mask(file: File, max_pixels: int) -> Loaded:
    """:func:`read_mask`, with what else the file says."""
    with opened(file, max_pixels=max_pixels) as image:
        return _mask_array(image)


def _image_array(image: ImageFile, *, channels: int) -> Loaded:
    modes = _MODES.get(channels)
    if modes is None:
        raise DataError(f"expected {channels} channels, which only .npy files (uint8, height x width x channels) have")
    _check_depth(image)
    check_pages(image)
    if image.mode not in modes:
        raise DataError(_other_channels(image.mode, len(image.getbands()), channels))
    turned, orientation = upright(image)
    pixels = np.array(turned.convert(modes[0]), dtype=np.uint8)
    return Loaded(pixels.reshape(turned.height, turned.width, channels), orientation)


def _mask_array(image: ImageFile) -> Loaded:
    if image.format not in _LABEL_FORMATS or image.info.get("compression") in _LOSSY_COMPRESSION:
        raise DataError("this compression changes class ids (JPEG and WebP lose detail); export the mask as PNG")
    if image.mode == "F":
        raise DataError("floating-point values, but class ids are whole numbers; save the mask as uint8")
    if image.mode not in _LABEL_MODES:
        raise DataError(
            f"{len(image.getbands())} channels ({image.mode}): looks like a colour mask; write one class id per pixel "
            "as an 8-bit grey or palette PNG, or read it by the classes' colours with --layout-option colors=true "
            "(layouts folder, patterns and voc)"
        )
    if is_inverted(image):
        raise DataError("0 is white in this TIFF (MINISWHITE), so readers disagree about its class ids; save it as PNG")
    check_pages(image)
    stretch, palette = _stretch(image), _palette(image)
    turned, orientation = upright(image)
    ids = np.array(turned)
    native = np.uint8 if ids.dtype == np.bool_ else ids.dtype.newbyteorder("=")
    return Loaded(ids.astype(native) // stretch, orientation, palette)


def _palette(image: ImageFile) -> tuple[Color, ...] | None:
    if image.mode != "P" or image.palette is None:
        return None
    values = image.getpalette() or []
    return tuple((values[i], values[i + 1], values[i + 2]) for i in range(0, len(values) - 2, 3))


def _check_depth(image: ImageFile) -> None:
    """Pillow would cut 16-bit colours to 8 bits, and leave out a TIFF's further channels, without a word."""
    check_narrow(image)
    if ";16" in raw_mode(image) or image.mode.startswith("I"):
        raise DataError(f"more than 8 bits per channel ({image.mode}), expected 8; {DEEPER}")
    if isinstance(image, TiffImageFile):
        stored, read = image.tag_v2.get(tiff.SAMPLES, 1), len(image.getbands())
        if stored != read:
            raise DataError(
                f"{stored} channels of which only {read} can be read from TIFF; save it as .npy, uint8 (H, W, C)"
            )


def _other_channels(mode: str, got: int, expected: int) -> str:
    target = _MODES[expected][0]
    fits = next((n for n, modes in _MODES.items() if mode == modes[0]), None)
    other = f", or build the model with in_channels={fits} and read {fits} channels" if fits else ""
    return f'{got} channels ({mode}), expected {expected} ({target}); convert it (Pillow: .convert("{target}")){other}'


def _stretch(image: ImageFile) -> int:
    """Pillow stretches 2- and 4-bit grey to 0 … 255: by how much."""
    raw = raw_mode(image)
    return 85 if raw.startswith("L;2") else 17 if raw.startswith("L;4") else 1
