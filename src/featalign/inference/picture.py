"""Images from which a network is shown parts, at any size: only the part that is asked for is ever made float."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from featalign.inference.network import Size
from featalign.inference.resampling import Taps, resample, resize_taps
from featalign.inference.views import Span


@dataclass(frozen=True)
class Picture:
    """``images`` (B, C, H, W) of any type, and what makes the network's input of a part of them: normalization.

    ``aligned``: resize with aligned corners and without averaging, as published evaluation code does. ``whole``: the
    size of larger images that ``images`` were cut from, at (row, column) ``origin``; parts are then named by where they
    are in these, and must not need anything outside of the cut.
    """

    images: Tensor
    prepare: Callable[[Tensor], Tensor]
    aligned: bool = False
    whole: Size | None = None
    origin: tuple[int, int] = (0, 0)

    @property
    def size(self) -> Size:
        """(H, W)."""
        return self.whole or (self.images.shape[-2], self.images.shape[-1])

    def part(self, size: Size, row: Span, column: Span) -> Tensor:
        """What a window shows of the images resized to ``size``; zeros, after normalization, outside of them."""
        rows, columns = self._taps(0, size, row), self._taps(1, size, column)
        (top, bottom), (left, right) = rows.region, columns.region
        y, x = self.origin
        prepared = self.prepare(self.images[..., top - y : bottom - y, left - x : right - x])
        shown = resample(prepared, rows.within(top), columns.within(left))
        before, after = (
            (-min(span.start, 0) for span in (column, row)),
            (max(span.stop - side, 0) for span, side in ((column, size[1]), (row, size[0]))),
        )
        border = [side for pair in zip(before, after, strict=True) for side in pair]
        return F.pad(shown, border) if any(border) else shown

    def _taps(self, axis: int, size: Size, span: Span) -> Taps:
        inside = range(max(span.start, 0), min(span.stop, size[axis]))
        return resize_taps(self.size[axis], size[axis], inside, aligned=self.aligned)
