"""What Pillow knows of a file beside its pixels: how they are packed, and which way is up."""

from __future__ import annotations

from typing import IO

from PIL import ImageOps
from PIL.Image import Image
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from featalign.data import tiff
from featalign.errors import DataError

DEEPER = "scale it to 8 bits, or train a network that labels pixels at data.depth: 16 (depth=16 in Python)"
"""What to do with 16 bits where 8 are read; detectors read no others."""
SHALLOWER = "save it with 16 bits, or train at data.depth: 8 (depth=8 in Python)"
"""What to do with 8 bits where 16 are read."""


def upright(image: ImageFile) -> tuple[Image, int]:
    """Pillow turns a TIFF while it decodes it and then forgets the tag; other formats may state it after the pixels."""
    header = image.tag_v2.get(tiff.ORIENTATION, 1) if isinstance(image, TiffImageFile) else 1
    image.load()
    stated = max(header, image.getexif().get(tiff.ORIENTATION, 1))
    return ImageOps.exif_transpose(image), stated if stated in range(1, 9) else 1


def raw_mode(image: ImageFile) -> str:
    """How the pixels are packed in the file, in Pillow's terms; empty where a reader decodes to 8 bits only (WebP)."""
    arguments = image.tile[0][3] if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments or "")


def check_pages(image: ImageFile) -> None:
    """Raises DataError for a TIFF or an animation of several pictures, of which a reader would see the first alone."""
    if isinstance(image, TiffImageFile) and image.fp is not None:
        check_pictures(image.fp)
    if isinstance(image, PngImageFile | WebPImageFile) and image.n_frames > 1:
        raise DataError(f"an animation of {image.n_frames} pictures, expected one; save one of them")


def check_pictures(file: IO[bytes]) -> None:
    """:func:`check_pages` of an open file."""
    if (count := tiff.pictures(file)) > 1:
        raise DataError(f"{count} pages, expected one; split it, or save channels as .npy, uint8 (H, W, C)")


def check_narrow(image: ImageFile) -> None:
    """Raises DataError for values of 32 bits, whole or floating-point, which are read at no depth."""
    if image.mode == "F" or (image.mode == "I" and ";16" not in raw_mode(image)):
        raise DataError(f"32 bits per channel ({image.mode}); scale the values to 8 or 16 bits, and save them as PNG")


def is_inverted(image: ImageFile) -> bool:
    """Whether 0 is white in a grey TIFF: Pillow turns such values round, GDAL and others give them as they are."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(tiff.PHOTOMETRIC) == 0
