"""What the colours of labels are laid over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def as_rgb(pixels: NDArray[np.integer], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Something to lay colours over, whatever the channels and depth: the first three, or grey; at the labels' size."""
    rgb = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    if rgb.dtype != np.uint8:
        rgb = rgb // 257
    picture = np.ascontiguousarray(rgb).astype(np.uint8)
    if picture.shape[:2] == shape:
        return picture
    return np.asarray(Image.fromarray(picture).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
