"""Panoptic segments laid over their image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from featalign.figures.drawing import INK, PAPER, font
from featalign.figures.palette import Pixels, check_image

_EDGE = 0.35
"""How much of the colour a pixel at the edge of a segment keeps: edges are drawn dark."""


def segment_overlay(
    image: Pixels,
    segments: NDArray[np.integer],
    colors: Sequence[tuple[int, int, int]],
    captions: Sequence[str],
    *,
    alpha: float = 0.5,
) -> Image.Image:
    """The image with every segment tinted, its edges dark, and its caption in its fullest row.

    A caption is moved down or up where it would reach beyond the image.

    Args:
        image: uint8 (H, W, 3).
        segments: numbers 1 … S of the segments, 0 for void, which keeps the image's own colours (H, W).
        colors, captions: S of each. Captions wider than their segment there are left out.
        alpha: share of the colour, 0 … 1.

    Raises:
        ValueError: if the numbers or sizes do not belong together.
    """
    image = check_image(image)
    if segments.shape != image.shape[:2] or len(colors) != len(captions) or segments.max(initial=0) > len(colors):
        raise ValueError(
            f"got segments {segments.shape} up to {segments.max(initial=0)}, {len(colors)} colours and {len(captions)} "
            f"captions for an image of {image.shape[:2]}; expected (H, W) and one of both for each segment"
        )
    table = np.array([(0, 0, 0), *colors], np.float32)
    tint = np.where(segments > 0, alpha, 0.0)[..., None]
    pixels = image + tint * (table[segments] - image)
    pixels[_edges(segments)] *= _EDGE
    canvas = Image.fromarray(pixels.round().astype(np.uint8))
    _write(ImageDraw.Draw(canvas), segments, captions)
    return canvas


def _edges(segments: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour is of another segment."""
    edges = np.zeros(segments.shape, bool)
    edges[:, :-1] |= segments[:, 1:] != segments[:, :-1]
    edges[:-1] |= segments[1:] != segments[:-1]
    return edges


def _write(draw: ImageDraw.ImageDraw, segments: NDArray[np.integer], captions: Sequence[str]) -> None:
    height = max(10, round(max(segments.shape) / 50))
    letters, highest, lowest = font(height), height / 2, segments.shape[0] - height / 2
    for number, caption in enumerate(captions, start=1):
        row, left, right = _widest(segments == number)
        if letters.getlength(caption) + 4 <= right - left:
            place = ((left + right) / 2, min(max(row + 0.5, highest), lowest))
            draw.text(place, caption, fill=PAPER, font=letters, anchor="mm", stroke_width=1, stroke_fill=INK)


def _widest(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """The row with most pixels of ``mask``, and the left and right edge of its longest run there."""
    row = int(mask.sum(1).argmax())
    steps = np.diff(np.concatenate(([0], mask[row].astype(np.int8), [0])))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    if not len(starts):
        return row, 0, 0
    longest = int((ends - starts).argmax())
    return row, int(starts[longest]), int(ends[longest])
