"""What Pillow knows of a file beside its pixels: how they are packed, and which way is up."""

from __future__ import annotations

from PIL import ImageOps
from PIL.Image import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from featalign.errors import DataError

_ORIENTATION = 274
"""A tag of EXIF and of TIFF."""


def upright(image: ImageFile) -> tuple[Image, int]:
    """Pillow turns a TIFF while it decodes it and then forgets the tag; other formats may state it after the pixels."""
    header = image.tag_v2.get(_ORIENTATION, 1) if isinstance(image, TiffImageFile) else 1
    image.load()
    stated = max(header, image.getexif().get(_ORIENTATION, 1))
    return ImageOps.exif_transpose(image), stated if stated in range(1, 9) else 1


def raw_mode(image: ImageFile) -> str:
    """How the pixels are packed in the file, in Pillow's terms; empty where a reader decodes to 8 bits only (WebP)."""
    arguments = image.tile[0][3] if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) else arguments or "")


def check_pages(image: ImageFile) -> None:
    """Raises DataError for a TIFF of several pictures, of which a reader would see the first alone."""
    if isinstance(image, TiffImageFile) and image.n_frames > 1:
        raise DataError(f"{image.n_frames} pages, expected one; split it, or save channels as .npy, uint8 (H, W, C)")
