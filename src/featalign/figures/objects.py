"""Found objects laid over their image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from featalign.figures.drawing import PAPER, font
from featalign.figures.palette import Pixels, check_image
from featalign.spec import Classes


def object_overlay(
    image: Pixels,
    boxes: NDArray[np.floating],
    captions: Sequence[str],
    *,
    masks: NDArray[np.bool_] | None = None,
    alpha: float = 0.5,
) -> Image.Image:
    """The image with each object's mask tinted, its box drawn and its caption written, in a colour of its own.

    Args:
        image: uint8 (H, W, 3).
        boxes: (N, 4), left, top, right, bottom in pixels, edges of pixels.
        captions: N, such as class and score. Those wider than their box are left out, so that small objects are seen.
        masks: (N, H, W), or None.
        alpha: share of the colour in a mask, 0 … 1.

    Raises:
        ValueError: if the numbers or sizes do not belong together.
    """
    image, count = check_image(image), len(boxes)
    shapes = (boxes.shape, len(captions), None if masks is None else masks.shape)
    if shapes != ((count, 4), count, None if masks is None else (count, *image.shape[:2])):
        raise ValueError(
            f"got boxes, captions and masks of {shapes} for an image of {image.shape[:2]}; expected (N, 4), N and "
            "(N, H, W)"
        )
    colors = Classes.numbered(count).colors if count else ()
    pixels = image.astype(np.float32)
    for mask, color in zip(() if masks is None else masks, colors, strict=False):
        pixels[mask] += alpha * (np.array(color, np.float32) - pixels[mask])
    canvas = Image.fromarray(pixels.round().astype(np.uint8))
    draw, letters = ImageDraw.Draw(canvas), font(max(10, round(max(image.shape[:2]) / 50)))
    for (left, top, right, bottom), color, caption in zip(boxes.tolist(), colors, captions, strict=True):
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=color)
        if letters.getlength(caption) + 4 <= right - left:
            draw.text((left + 2, top + 1), caption, fill=PAPER, font=letters, stroke_width=1, stroke_fill=color)
    return canvas
