"""Uploaded bytes as pixels. Nothing is decoded before its size and kind are known to be allowed."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from featalign.data import UnreadableError, read_image
from featalign.data.content import Content
from featalign.data.deep import npy_shape
from featalign.data.reading import opened, tile_size
from featalign.errors import DataError
from featalign.serve.problems import RequestError, TooLargeError, UnsupportedImageError

_NUMPY = b"\x93NUMPY"
_ANY = 2**62


def decode(data: bytes, *, channels: int, max_pixels: int) -> NDArray[np.uint8]:
    """An uploaded image, upright, as uint8 (H, W, channels): JPEG, PNG, TIFF, BMP or WebP, or a ``.npy`` array.

    Raises:
        TooLargeError: for more than ``max_pixels``, before anything is decoded.
        UnsupportedImageError: if it is no image, or one of other channels or another depth, or with several pictures.
        RequestError: if it is empty or damaged.
    """
    if not data:
        raise RequestError("image: is empty (0 bytes)")
    file = Content(data, "image.npy" if data.startswith(_NUMPY) else "image")
    try:
        _check_size(*_size(file), max_pixels=max_pixels)
        return read_image(file, channels=channels, max_pixels=max_pixels).astype(np.uint8, copy=False)
    except UnreadableError as error:
        if "is not a JPEG" in str(error):
            raise UnsupportedImageError(str(error)) from error
        raise RequestError(str(error)) from error
    except DataError as error:
        raise UnsupportedImageError(str(error)) from error


def _size(file: Content) -> tuple[int, int]:
    """(height, width) from the header alone, of a TIFF's tiles where they are larger. Raises DataError."""
    if file.suffix == ".npy":
        shape = npy_shape(file)
        return (shape[0], shape[1]) if len(shape) == 3 else (1, 1)  # what else it is, reading it says
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
