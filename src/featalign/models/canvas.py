"""Images of several sizes in one batch: each lies in the top left corner of a common canvas."""

from __future__ import annotations

import torch
from torch import Tensor

from featalign.ops import linear_taps, pixel_axes, resize


def own_pixels(logits: Tensor, shown: tuple[int, int], canvas: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Logits over the batch's canvas, (1, K, h, w), at the pixels of the image in its corner: (1, K, *size).

    ``shown``: the size that the image was brought to. No label is resized, and no logit twice.
    """
    axes = pixel_axes(size, (0.0, 0.0, shown[1] / canvas[1], shown[0] / canvas[0]))
    rows, columns = (
        linear_taps(axis, cells, device=logits.device, dtype=torch.float32)
        for axis, cells in zip(axes, logits.shape[-2:], strict=True)
    )
    return resize(logits, rows, columns)
