"""Images of 16 bits per channel, read exactly; and arrays of any number of channels."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from torchvision.io import decode_png

from featalign.data import tiff
from featalign.data.files import File
from featalign.data.header import (
    DEEPER,
    SHALLOWER,
    check_narrow,
    check_pages,
    check_pictures,
    raw_mode,
    upright,
)
from featalign.data.reading import check_pixels, naming, opened
from featalign.errors import DataError
from featalign.spec import Depth

_TURNS: dict[int, Callable[[NDArray[np.uint16]], NDArray[np.uint16]]] = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2),
    8: np.rot90,
}
"""By EXIF orientation, what shows the pixels upright."""

_KINDS = {1: "grey", 2: "grey with alpha", 3: "RGB", 4: "RGBA"}


def open_npy(file: File, *, channels: int, depth: Depth, max_pixels: int) -> NDArray[np.integer]:
    """An array file (H, W, C) of uint8 or uint16. Raises DataError naming it if it holds anything else."""
    dtype = np.dtype(np.uint8 if depth == 8 else np.uint16)
    with naming(file), file.open("rb") as stream:
        shape, stored = _npy_header(stream)
        if len(shape) != 3 or stored != dtype or shape[2] != channels:
            raise DataError(
                f"{stored} array of shape {shape}, expected {dtype} (H, W, {channels}); {_cure(shape, stored, dtype)}"
            )
        check_pixels(shape[0], shape[1], max_pixels=max_pixels)
        stream.seek(0)
        return np.load(stream, allow_pickle=False)


def npy_shape(file: File) -> tuple[int, ...]:
    """The shape of an array file, without its values."""
    with naming(file), file.open("rb") as stream:
        return _npy_header(stream)[0]


def _cure(shape: tuple[int, ...], stored: np.dtype[Any], expected: np.dtype[Any]) -> str:
    """What to do with an array of another kind: of all that is wrong with it, the first."""
    if len(shape) != 3:
        return "save height, width and channels, in this order"
    if stored == expected:
        return f"save the channels in question, last, or train at data.channels: {shape[2]}"
    if {stored, expected} != {np.dtype(np.uint8), np.dtype(np.uint16)}:
        return f"scale it to whole numbers, and save it as {expected}"
    return DEEPER if stored == np.uint16 else SHALLOWER


def _npy_header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, stored = read(stream)
    return shape, stored


def load_deep(file: File, *, channels: int, max_pixels: int) -> tuple[NDArray[np.uint16], int]:
    """A PNG or TIFF of 16 bits as uint16 (H, W, C), upright, and the EXIF orientation (1 … 8) it had."""
    if file.suffix.lower() in (".tif", ".tiff") and channels != 1:
        return _with_rasterio(file, channels=channels, max_pixels=max_pixels)
    with opened(file, max_pixels=max_pixels) as image:
        _check_depth(image)
        check_pages(image)
        if isinstance(image, PngImageFile):
            return _png(file, image, channels)
        if not isinstance(image, TiffImageFile) or channels != 1:
            raise DataError("16 bits per channel are read from PNG, TIFF and .npy")
        pixels, orientation = upright(image)
        return np.array(pixels, dtype=np.uint16)[..., None], orientation


def _png(file: File, image: PngImageFile, channels: int) -> tuple[NDArray[np.uint16], int]:
    """By torchvision, since Pillow cuts 16-bit colours to 8 bits."""
    content = torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8)
    pixels: NDArray[np.uint16] = decode_png(content).permute(1, 2, 0).numpy()
    if not _serves(pixels.shape[2], channels):
        raise DataError(f"{pixels.shape[2]} channels ({_KINDS[pixels.shape[2]]}), expected {channels}")
    orientation = upright(image)[1]
    return _upright(pixels, channels, orientation), orientation


def _serves(stored: int, channels: int) -> bool:
    return stored == channels or (stored, channels) == (1, 3)


def _upright(pixels: NDArray[np.uint16], channels: int, orientation: int) -> NDArray[np.uint16]:
    """(H, W, channels) of pixels as stored, of which grey serves as three channels."""
    each = np.broadcast_to(pixels, (*pixels.shape[:2], channels))
    return np.ascontiguousarray(_TURNS[orientation](each))


def _with_rasterio(file: File, *, channels: int, max_pixels: int) -> tuple[NDArray[np.uint16], int]:
    with naming(file):
        try:
            import rasterio
        except ImportError as error:
            raise DataError(
                f"TIFF of {channels} channels with 16 bits needs rasterio: pip install 'featalign[geo]', or save it as "
                ".npy, uint16 (H, W, C)"
            ) from error
        content = file.read_bytes()
        check_pictures(BytesIO(content))
        orientation = next(tiff.pages(BytesIO(content)), {}).get(tiff.ORIENTATION, 1)
        with warnings.catch_warnings(), rasterio.MemoryFile(content) as memory:
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with memory.open() as raster:
                check_pixels(raster.height, raster.width, max_pixels=max_pixels)
                check_pixels(*raster.block_shapes[0], max_pixels=max_pixels, what="tiles of ")
                if set(raster.dtypes) != {"uint16"} or not _serves(raster.count, channels):
                    kinds = ", ".join(sorted(set(raster.dtypes)))
                    raise DataError(f"{raster.count} channels of {kinds}, expected {channels} of uint16")
                pixels = raster.read().transpose(1, 2, 0)
        return _upright(pixels, channels, orientation), orientation


def _check_depth(image: ImageFile) -> None:
    check_narrow(image)
    if ";16" not in raw_mode(image):
        raise DataError(f"8 bits per channel ({image.mode}), expected 16; {SHALLOWER}")
    if ";16S" in raw_mode(image) or ";16BS" in raw_mode(image):
        raise DataError("16 bits with a sign, expected 0 … 65535; shift the values there, and save them as uint16")
