"""Requests with something wrong, in twelve ways, for the load test of `featalign serve`."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Attack:
    """A file, parameters, and the status that is the right answer; ``slow``: sent byte by byte."""

    image: bytes
    status: int
    parameters: dict[str, str] = field(default_factory=dict)
    slow: bool = False


def attacks(photo: NDArray[np.uint8], *, max_body: int) -> dict[str, Attack]:
    """The twelve, by name. An image turned by EXIF is no fault: 200, and the answer must be upright."""
    picture = Image.fromarray(photo)
    good = saved(picture, "PNG")
    turned = Image.Exif()
    turned[274] = 6
    return {
        "truncated": Attack(good[: len(good) // 2], 422),
        "bomb": Attack(_bomb(50_000), 413),
        "wrong type": Attack(saved(picture, "GIF"), 415),
        "huge": Attack(good + bytes(max_body), 413),
        "slow upload": Attack(good, 408, slow=True),
        "wrong parameters": Attack(good, 422, {"size": "0x-3", "scales": "many"}),
        "non-image": Attack(b"%PDF-1.7 nothing to see", 415),
        "16-bit": Attack(saved(Image.fromarray(photo[..., 0].astype(np.uint16) * 257), "PNG"), 415),
        "CMYK": Attack(saved(picture.convert("CMYK"), "JPEG"), 415),
        "animated": Attack(saved(picture, "WEBP", save_all=True, append_images=[picture.rotate(90)]), 415),
        "EXIF-rotated": Attack(saved(picture, "PNG", exif=turned), 200),
        "empty": Attack(b"", 422),
    }


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """The image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _bomb(side: int) -> bytes:
    """A small PNG of side x side black pixels' worth of zeros."""
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(10**6)) for _ in range(200)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
