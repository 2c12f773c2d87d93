"""Opening image files safely: the size is judged before a pixel is decoded, and every fault names the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import BinaryIO

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import COMPRESSION_INFO, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from featalign.data import tiff
from featalign.data.files import File
from featalign.errors import DataError

DEFAULT_MAX_PIXELS = 178_956_970
"""Largest image that is decoded unless asked otherwise: the size from which Pillow itself speaks of an attack."""

_LIFTING = Lock()
_READERS: dict[bytes, type[ImageFile]] = {
    b"\xff\xd8\xff": JpegImageFile,
    b"\x89PNG\r\n": PngImageFile,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
    b"II+\0": TiffImageFile,
    b"MM\0+": TiffImageFile,
    b"BM": BmpImageFile,
    b"RIFF": WebPImageFile,
}
"""Pillow's reader by the first bytes of a file, whatever the file is called."""


class UnreadableError(DataError):
    """A file that is missing, damaged or not of its pair's size: a fault of this file alone, which may be skipped."""


@contextmanager
def naming(path: File) -> Iterator[None]:
    """Turn every fault inside the block, ours or a decoder's, into a DataError that begins with ``path``.

    Faults of the file itself become :class:`UnreadableError`; faults of the whole set (wrong kind of mask, depth or
    channels) stay plain DataErrors.
    """
    try:
        yield
    except Exception as error:  # a damaged file can make a decoder raise almost anything
        kind = type(error) if isinstance(error, DataError) else UnreadableError
        raise kind(f"{path}: {_reason(error)}") from error


@contextmanager
def opened(path: File, *, max_pixels: int) -> Iterator[ImageFile]:
    """The file's header as a Pillow image of allowed size; its pixels are decoded on first use, inside the block.

    Raises:
        DataError: naming the file, for every fault up to the end of the block.
    """
    with naming(path), path.open("rb") as file:
        image = _identify(file)
        check_pixels(image.height, image.width, max_pixels=max_pixels)
        check_pixels(*tile_size(image), max_pixels=max_pixels, what="tiles of ")
        with _pillow_allowing(image):
            yield image


def tile_size(image: ImageFile) -> tuple[int, int]:
    """(height, width) of the tiles of a TIFF, each of which is decoded at once and can be larger than the image. (0, 0)
    where there are none."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    height, width = tags.get(tiff.TILE_LENGTH, 0), tags.get(tiff.TILE_WIDTH, 0)
    return (height, width) if isinstance(height, int) and isinstance(width, int) else (0, 0)


def check_pixels(height: int, width: int, *, max_pixels: int, what: str = "") -> None:
    """Raises DataError if an image of this size is larger than allowed. ``what`` has this size, if not the image."""
    if height * width > max_pixels:
        raise DataError(
            f"{what}{width} x {height} = {height * width:,} pixels, more than the {max_pixels:,} that are allowed; "
            f"allow it with --max-pixels {height * width} (max_pixels= in Python) if the file is trusted, or predict "
            "it with --parts"
        )


@contextmanager
def _pillow_allowing(image: ImageFile) -> Iterator[None]:
    """TIFF alone is judged once more while it is decoded, by Pillow's limit of the process: lift it meanwhile."""
    pixels = image.height * image.width
    if not isinstance(image, TiffImageFile) or pixels <= (Image.MAX_IMAGE_PIXELS or pixels):
        yield
        return
    with _LIFTING:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _reason(error: Exception) -> str:
    if isinstance(error, DataError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read ({error.strerror})"
    return f"is damaged and cannot be decoded ({str(error) or type(error).__name__}); copy or export it again"


def _identify(file: BinaryIO) -> ImageFile:
    """The reader is chosen here, because ``PIL.Image.open`` would judge the size by a limit of the whole process."""
    start = file.read(8)
    file.seek(0)
    for magic, reader in _READERS.items():
        if start.startswith(magic):
            return _read_header(file, reader)
    raise UnreadableError("is not a JPEG, PNG, TIFF, BMP or WebP file" if start else "is empty (0 bytes)")


def _read_header(file: BinaryIO, reader: Callable[[BinaryIO], ImageFile]) -> ImageFile:
    """Raises DataError for a TIFF of a kind that Pillow does not know, which is no damage."""
    try:
        image = reader(file)
    except SyntaxError as error:
        tags = next(tiff.pages(file), {})
        if all(tag in tags for tag in tiff.DESCRIBING):
            raise DataError(tiff.unreadable(tags)) from error
        raise
    if isinstance(image, TiffImageFile) and image.tag_v2.get(tiff.COMPRESSION, 1) not in COMPRESSION_INFO:
        raise DataError(tiff.unreadable(image.tag_v2))
    return image
