"""Images of several sizes in one batch: each lies in the top left corner of a common canvas."""

from __future__ import annotations

from torch import Tensor

from featalign.ops import linear_taps_of, pixel_axes, resize


def own_pixels(logits: Tensor, shown: tuple[int, int], canvas: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Logits over the batch's canvas, (1, K, h, w), at the pixels of the image in its corner: (1, K, *size).

    ``shown``: the size that the image was brought to. No label is resized, and no logit twice.
    """
    rows, columns = (
        axis.within(part, whole) for axis, part, whole in zip(pixel_axes(size), shown, canvas, strict=True)
    )
    return resize(logits, *linear_taps_of(rows, columns, logits))
