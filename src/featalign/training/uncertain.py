"""Points where the answer is uncertain, to learn from besides the grid (PointRend, CVPR 2020, section 3.1)."""

from __future__ import annotations

from torch import Tensor

from featalign.ops import class_margin, draw_uncertain

PIXELS_PER_POINT = 256
"""2048 points of a crop of 512 x 1024, as published."""


def uncertain_points(logits: Tensor) -> Tensor:
    """Random points of each image, three quarters of them the least certain of three times as many.

    How certain an answer is, is the distance of its two largest logits.

    Args:
        logits: (B, K, H, W) at every pixel of the labels; no gradient passes through.

    Returns:
        (B, N, 2), N one per 256 pixels: (x, y) in [0, 1].
    """
    height, width = logits.shape[-2:]
    count = max(1, height * width // PIXELS_PER_POINT)
    return draw_uncertain(logits, count, class_margin)
