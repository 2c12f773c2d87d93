"""TIFF files of one tile, which Pillow reads and does not write."""

from __future__ import annotations

import struct


def tiled_tiff(width: int, height: int, tile: int, *, written: int | None = None) -> bytes:
    """A grey image in one tile of ``tile`` x ``tile`` zeros, of which ``written`` bytes are in the file (all)."""
    pixels = bytes(tile * tile if written is None else written)
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1, 322: tile, 323: tile, 324: 0, 325: len(pixels)}
    tags[324] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + pixels
