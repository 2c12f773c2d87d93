"""Uploaded bytes as pixels. Nothing is decoded before its size and kind are known to be allowed."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from featalign.data import UnreadableError, read_image, tiff
from featalign.data.content import Content
from featalign.data.deep import npy_shape
from featalign.data.reading import naming, opened, tile_size
from featalign.errors import DataError
from featalign.serve.problems import RequestError, TooLargeError, UnsupportedImageError
from featalign.spec import Depth

_SUFFIXES = {b"\x93NUMPY": ".npy", **dict.fromkeys(tiff.MAGIC, ".tif")}
_ANY = 2**62


def decode(data: bytes, *, channels: int, depth: Depth = 8, max_pixels: int) -> NDArray[np.integer]:
    """An uploaded image, upright, (H, W, channels): of 8 bits as uint8, from JPEG, PNG, TIFF, BMP or WebP, or a
    ``.npy`` array; of 16 as uint16, from PNG, TIFF or ``.npy``.

    Raises:
        TooLargeError: for more than ``max_pixels``, before anything is decoded.
        UnsupportedImageError: if it is no image, or one of other channels or another depth, or with several pictures.
        RequestError: if it is empty or damaged.
    """
    if not data:
        raise RequestError("image: is empty (0 bytes)")
    file = Content(data, _named(data))
    try:
        _check_size(*_size(file, depth), max_pixels=max_pixels)
        return read_image(file, channels=channels, depth=depth, max_pixels=max_pixels)
    except UnreadableError as error:
        if "is not a JPEG" in str(error):
            raise UnsupportedImageError(str(error)) from error
        raise RequestError(str(error)) from error
    except DataError as error:
        raise UnsupportedImageError(str(error)) from error


def _named(data: bytes) -> str:
    """With the suffix by which files are told apart that Pillow does not read."""
    return "image" + next((suffix for magic, suffix in _SUFFIXES.items() if data.startswith(magic)), "")


def _size(file: Content, depth: Depth) -> tuple[int, int]:
    """(height, width) from the header alone, of a TIFF's tiles where they are larger. Raises DataError."""
    if file.suffix == ".npy":
        shape = npy_shape(file)
        return (shape[0], shape[1]) if len(shape) == 3 else (1, 1)  # what else it is, reading it says
    if file.suffix == ".tif" and depth == 16:  # Pillow opens none of several channels
        with naming(file):
            tags = next(tiff.pages(file.open()), {})
        sides = [tags.get(tag, 0) for tag in (tiff.HEIGHT, tiff.WIDTH, tiff.TILE_LENGTH, tiff.TILE_WIDTH)]
        height, width, *tile = (side if isinstance(side, int) else 0 for side in sides)
        return max((height, width), (tile[0], tile[1]), key=prod)
    with opened(file, max_pixels=_ANY) as image:
        return max((image.height, image.width), tile_size(image), key=prod)


def _check_size(height: int, width: int, *, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise TooLargeError(
            f"image: {width} x {height} = {height * width:,} pixels, more than the {max_pixels:,} that this service "
            "takes; send a smaller one"
        )
    if height * width == 0:
        raise RequestError("image: has no pixels")
