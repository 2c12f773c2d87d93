"""What the tags of a TIFF say, page by page, before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, Any

from PIL.TiffImagePlugin import COMPRESSION_INFO, ImageFileDirectory_v2

Tags = Mapping[int, Any]

KIND, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES = 254, 256, 257, 258, 259, 262, 274, 277
TILE_WIDTH, TILE_LENGTH, EXTRA_SAMPLES = 322, 323, 338
DESCRIBING = (WIDTH, HEIGHT, BITS, PHOTOMETRIC, SAMPLES)
"""What is there in every picture, unless the file is cut off."""
GEOREFERENCES = (33550, 33922, 34264, 34735)
"""Pixel scale, tie points, transformation, key directory."""
_REDUCED, _MASK = 1, 4
"""Bits of KIND: a smaller version of another page, and which of its pixels are there."""
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _MULTIPLIED_ALPHA = 0, 1, 1


def pages(file: IO[bytes]) -> Iterator[Tags]:
    """The tags of each page, of any channels and depth; nothing if the file is no TIFF."""
    file.seek(0)
    header = file.read(8)
    if header[:4] not in MAGIC:
        return
    header += file.read(8) if 43 in header[2:4] else b""
    offset, read = ImageFileDirectory_v2(header).next, set[int]()
    while offset and offset not in read:
        read.add(offset)
        tags = ImageFileDirectory_v2(header)
        file.seek(offset)
        tags.load(file)
        yield tags
        offset = tags.next


def pictures(file: IO[bytes]) -> int:
    """How many pages are pictures of their own: overviews and masks of transparency, which GeoTIFFs keep, are none."""
    return sum(not tags.get(KIND, 0) & (_REDUCED | _MASK) for tags in pages(file))


def ambiguous(tags: Tags) -> str | None:
    """Why readers disagree about the values of a page; None where they do not."""
    photometric, bits = tags.get(PHOTOMETRIC), max(tags.get(BITS, (1,)))
    if photometric == _WHITE_IS_ZERO:
        return "0 is white (MINISWHITE)"
    if photometric == _BLACK_IS_ZERO and bits in (2, 4):
        return f"grey of {bits} bits"
    return "colours that are multiplied by alpha" if _MULTIPLIED_ALPHA in tags.get(EXTRA_SAMPLES, ()) else None


def unreadable(tags: Tags) -> str:
    """What there is instead of what Pillow reads, and what to do."""
    if (compression := tags.get(COMPRESSION, 1)) not in COMPRESSION_INFO:
        return f"TIFF compression {compression} is not read; convert it: gdal_translate -co COMPRESS=DEFLATE"
    samples, bits = tags.get(SAMPLES, 1), max(tags.get(BITS, (1,)))
    deep = f"train at data.depth: 16 and data.channels: {samples} (depth=16 and channels={samples} in Python)"
    cure = deep if bits == 16 else "save it as .npy, uint8 (H, W, C)"
    return f"TIFF of {samples} channels with {bits} bits each, which is not read so; {cure}"
