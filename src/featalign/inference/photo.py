"""What the colours of labels are laid over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def as_rgb(pixels: NDArray[np.integer], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Something to lay colours over, whatever the channels and depth: the first three, or grey; at the labels' size.

    Of 16 bits, what sensors seldom fill, the value that 99 % do not pass is white. Pixels of 0 or 65535 in all that is
    shown have no part in that: most of a scene's frame may be without data.
    """
    rgb = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    picture = np.ascontiguousarray(rgb if rgb.dtype == np.uint8 else _brightened(rgb))
    if picture.shape[:2] == shape:
        return picture
    return np.asarray(Image.fromarray(picture).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _brightened(rgb: NDArray[np.integer]) -> NDArray[np.uint8]:
    step = max(1, max(rgb.shape) // 512)  # as many pixels as tell the percentile
    values = rgb[::step, ::step].reshape(-1, 3)
    seen = values[(values.max(1) > 0) & (values.min(1) < 65535)]
    white = float(np.percentile(seen if len(seen) else values, 99))
    return np.minimum(rgb.astype(np.float32) * np.float32(255 / max(white, 1)), 255).astype(np.uint8)
