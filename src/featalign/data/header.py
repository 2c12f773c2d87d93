"""What Pillow knows of a file beside its pixels: how they are packed, and which way is up."""

from __future__ import annotations

from PIL import ImageOps
from PIL.Image import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from featalign.errors import DataError

_KIND, _PHOTOMETRIC, _ORIENTATION = 254, 262, 274
"""Tags of TIFF; the last is of EXIF too."""
_REDUCED, _MASK = 1, 4
"""Bits of the kind of a page: a smaller version of another page, and which of its pixels are there."""


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
    """Raises DataError for a TIFF of several pictures, of which a reader would see the first alone.

    Overviews and transparency masks, which GeoTIFFs keep as further pages, are no pictures of their own.
    """
    if not isinstance(image, TiffImageFile) or image.n_frames == 1:
        return
    pages = 1
    for frame in range(1, image.n_frames):
        image.seek(frame)
        pages += not image.tag_v2.get(_KIND, 0) & (_REDUCED | _MASK)
    image.seek(0)
    if pages > 1:
        raise DataError(f"{pages} pages, expected one; split it, or save channels as .npy, uint8 (H, W, C)")


def is_inverted(image: ImageFile) -> bool:
    """Whether 0 is white in a grey TIFF: Pillow turns such values round, GDAL and others give them as they are."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == 0
