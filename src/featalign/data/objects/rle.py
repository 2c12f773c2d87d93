"""COCO's forms of a mask, by pycocotools: polygons, run lengths, compressed run lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featalign.errors import ConfigError, DataError

Segmentation = list[list[float]] | Mapping[str, Any]
"""Polygons [[x, y, x, y, …], …]; or {"size": [H, W], "counts": run lengths or their compressed text}."""
LEAST = 6
"""Numbers of a polygon: x, y of three points."""


def decode(segmentation: Segmentation, height: int, width: int) -> NDArray[np.uint8]:
    """The mask, uint8 (height, width), 0 or 1.

    Raises:
        DataError: if it is none of COCO's forms, or run lengths of another size; it begins with "has".
        ConfigError: if pycocotools is missing.
    """
    coding = _coding()
    try:
        if isinstance(segmentation, Mapping):
            if list(segmentation["size"]) != [height, width]:
                raise DataError(f"has run lengths of {segmentation['size']} for an image of {[height, width]} (H, W)")
            plain = isinstance(segmentation["counts"], list)
            if plain and (sum(segmentation["counts"]) != height * width or min(segmentation["counts"]) < 0):
                raise DataError(f"has run lengths that do not add up to the {height * width} pixels of the image")
            given = coding.frPyObjects(segmentation, height, width) if plain else segmentation
        else:
            if not all(len(polygon) >= LEAST and len(polygon) % 2 == 0 for polygon in segmentation):
                raise DataError("has a polygon that is not x, y of three points or more")
            given = coding.merge(coding.frPyObjects(segmentation, height, width))
        return coding.decode(given)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(f"has a segmentation that is neither polygons nor run lengths ({error!r})") from error


def encode(mask: NDArray[np.integer] | NDArray[np.bool_]) -> dict[str, Any]:
    """Compressed run lengths of a mask (H, W), as JSON takes them."""
    rle = _coding().encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def _coding() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ConfigError("COCO's masks need pycocotools: pip install 'featalign[detection]'") from error
    return mask
