"""Bands around the boundaries between classes: where alignment shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from featalign.metrics.accumulator import Accumulator
from featalign.metrics.confusion import confusion_matrix
from featalign.metrics.labels import Labels, as_labels
from featalign.metrics.scores import Scores, scores
from featalign.metrics.windows import window_max
from featalign.spec import IGNORE_INDEX

BAND_WIDTHS = (3, 5, 8, 12)
"""The widths of FaPN's Table 2, in pixels."""


class BoundaryBands(Accumulator):
    """One confusion matrix for each width, over the pixels of :func:`boundary_band` (FaPN section 4.2, Table 2).

    The paper counts "n pixels around the outline of each object" and gives no code; here the outline is that between
    the truth's classes, and ``n`` pixels on either side of it count.
    """

    COUNTS = ("matrices",)
    SETTINGS = ("classes", "ignore_index", "widths")

    def __init__(self, classes: int, widths: Sequence[int] = BAND_WIDTHS, *, ignore_index: int = IGNORE_INDEX) -> None:
        self.classes = classes
        self.ignore_index = ignore_index
        self.widths = tuple(widths)
        self.matrices = torch.zeros(len(self.widths), classes, classes, dtype=torch.int64)
        """int64 (widths, K, K) on the CPU: rows = truth."""

    def update(self, pred: Labels, target: Labels) -> None:
        """Adds one image or batch of maps (..., H, W): ids and errors of :func:`confusion_matrix`."""
        bands = boundary_targets(torch.as_tensor(target), self.widths, self.ignore_index)
        counted = [confusion_matrix(pred, band, self.classes, self.ignore_index) for band in bands.values()]
        for matrix, counts in zip(self.matrices, counted, strict=True):
            matrix += counts

    def scores(self) -> dict[int, Scores]:
        """The scores within each width."""
        return {width: scores(matrix) for width, matrix in zip(self.widths, self.matrices, strict=True)}


def boundary_targets(target: Tensor, widths: Sequence[int], ignore_index: int = IGNORE_INDEX) -> dict[int, Tensor]:
    """The target by width, with everything outside :func:`boundary_band` set to ``ignore_index``.

    Bands grow from the narrowest to the widest, so that all of them cost little more than the widest alone.
    """
    target = as_labels("target", target, ignore_index)
    void = {width: target.masked_fill(~band, ignore_index) for width, band in _bands(target, widths, ignore_index)}
    return {width: void[width] for width in widths}


def boundary_target(target: Tensor, width: int, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """The target with everything outside :func:`boundary_band` set to ``ignore_index``: what boundary scores count."""
    return boundary_targets(target, [width], ignore_index)[width]


def boundary_band(target: Tensor, width: int, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """The pixels at most ``width`` pixels away from a pixel of another class.

    Distance is Chebyshev's: a pixel belongs to the band if the window of ``2 * width + 1`` pixels around it, cut at
    the image's border, holds two classes. Void pixels neither belong to a band nor cause one, so nothing happens where
    a class meets void; a void strip narrower than ``width`` does not part two classes either.

    Args:
        target: class ids (..., H, W) of any integer type, within int32, or ``ignore_index``.
        width: in pixels of the target, at least 1. Width 1 takes the two pixels on either side of an edge.

    Returns:
        bool, shape and device of the target.

    Raises:
        ValueError: if width is below 1 or the target has fewer than two dimensions.
    """
    return dict(_bands(as_labels("target", target, ignore_index), [width], ignore_index))[width]


def _bands(target: Tensor, widths: Sequence[int], ignore_index: int) -> Iterator[tuple[int, Tensor]]:
    """(width, band) by rising width. A window over windows is a larger window: each band starts from the last one's."""
    if min(widths, default=1) < 1 or target.ndim < 2:
        raise ValueError(
            f"got width {min(widths, default=1)}, target {tuple(target.shape)}; expected width >= 1, target (..., H, W)"
        )
    valid = target != ignore_index
    # Two classes in the window <=> its largest id differs from its smallest. The window's own pixel is valid where the
    # answer is read, so void may stand as the lowest value of all in both maps.
    ids = target.masked_fill(~valid, 0)
    small = not target.numel() or (int(ids.min()) >= 0 and int(ids.max()) <= 255)
    ids = ids.to(torch.uint8 if small else torch.int32)
    lowest = torch.iinfo(ids.dtype).min
    largest, smallest_flipped = (maps.masked_fill(~valid, lowest) for maps in (ids, ids.bitwise_not()))
    reached = 0
    for width in sorted(set(widths)):
        if target.numel():
            largest, smallest_flipped = (window_max(maps, width - reached) for maps in (largest, smallest_flipped))
        reached = width
        yield width, valid & (largest != smallest_flipped.bitwise_not())
