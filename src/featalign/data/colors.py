"""Masks whose classes are colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featalign.data.files import File
from featalign.data.images import Loaded, load_image
from featalign.data.reading import opened
from featalign.errors import DataError
from featalign.spec import IGNORE_INDEX, Color


def load_colors(
    file: File,
    max_pixels: int,
    *,
    colors: Sequence[Color],
    ignored: Sequence[Color] = (),
    ignore_index: int = IGNORE_INDEX,
) -> Loaded:
    """An RGB mask as positions in ``colors``; ``ignored`` colours that are none of them become ``ignore_index``.

    It may be RGBA if no pixel lets anything through.

    Raises:
        DataError: naming the file and the first colours that are in neither list.
    """
    with opened(file, max_pixels=max_pixels) as image:
        channels = 4 if image.mode == "RGBA" else 3
    loaded = load_image(file, channels=channels, max_pixels=max_pixels)
    if channels == 4 and (clear := int((loaded.pixels[..., 3] != 255).sum())):
        raise DataError(f"{file}: {clear} pixels are transparent, which is no colour; export the mask without alpha")
    codes = _codes(loaded.pixels)
    known = {_code(color): ignore_index for color in ignored} | {_code(color): i for i, color in enumerate(colors)}
    keys = np.array(sorted(known), np.int64)
    values = np.array([known[key] for key in keys.tolist()], np.int32 if ignore_index < 0 else np.uint16)
    places = np.searchsorted(keys, codes).clip(max=len(keys) - 1)
    strange = keys[places] != codes
    if strange.any():
        raise DataError(f"{file}: {_about(codes[strange])}")
    return Loaded(values[places], loaded.orientation)


def _codes(pixels: NDArray[np.integer]) -> NDArray[np.int64]:
    wide = pixels.astype(np.int64)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _code(color: Color) -> int:
    return (color[0] << 16) | (color[1] << 8) | color[2]


def _about(codes: NDArray[np.int64]) -> str:
    values, counts = np.unique(codes, return_counts=True)
    most = np.argsort(-counts)[:3]
    shown = ", ".join(_words(int(values[i]), int(counts[i])) for i in most)
    return (
        f"{len(values)} colours of no class: {shown}; export the mask without antialiasing, scaling or JPEG, or give "
        "these colours to classes"
    )


def _words(code: int, pixels: int) -> str:
    return f"({code >> 16}, {code >> 8 & 255}, {code & 255}) ({pixels} pixels)"
