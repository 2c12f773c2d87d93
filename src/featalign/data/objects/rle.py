"""COCO's forms of a mask, by pycocotools: polygons, run lengths, compressed run lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featalign.data.run_lengths import decompressed
from featalign.errors import ConfigError, DataError

Segmentation = list[list[float]] | Mapping[str, Any]
"""Polygons [[x, y, x, y, …], …]; or {"size": [H, W], "counts": run lengths or their compressed text}."""
LEAST = 6
"""Numbers of a polygon: x, y of three points."""
_FURTHEST = 1_000_000
"""Pixels from the image's corner. pycocotools takes memory for every pixel of a polygon's edges, wherever they lie."""


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
            counts = segmentation["counts"]
            lengths = counts if isinstance(counts, list) else decompressed(counts)
            if sum(lengths) != height * width or min(lengths) < 0:  # what is missing would be whatever memory held
                raise DataError(f"has run lengths that do not add up to the {height * width} pixels of the image")
            given = coding.frPyObjects(segmentation, height, width) if counts is lengths else segmentation
        else:
            given = coding.merge(coding.frPyObjects([_polygon(part) for part in segmentation], height, width))
        return coding.decode(given)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(f"has a segmentation that is neither polygons nor run lengths ({error!r})") from error


def encode(mask: NDArray[np.integer] | NDArray[np.bool_]) -> dict[str, Any]:
    """Compressed run lengths of a mask (H, W), as JSON takes them."""
    rle = _coding().encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def _polygon(given: Any) -> list[float]:
    """x, y, x, y, … as numbers. Raises DataError."""
    if len(given) < LEAST or len(given) % 2:
        raise DataError("has a polygon that is not x, y of three points or more")
    polygon = [float("nan") if value is None else float(value) for value in given]
    if not all(abs(value) <= _FURTHEST for value in polygon):
        raise DataError(f"has a polygon with coordinates that are no numbers, or beyond {_FURTHEST:,} pixels")
    return polygon


def _coding() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ConfigError("COCO's masks need pycocotools: pip install 'featalign[detection]'") from error
    return mask
