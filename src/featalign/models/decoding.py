"""An answer on any grid, piece by piece: asked at every pixel, or the answer on the finest map's own grid resized."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor

from featalign.align.budget import Budget, fit_tile, memory_budget
from featalign.align.streaming import Tile
from featalign.models.network import Features, SegmentationNetwork
from featalign.ops import LinearTaps, PixelAxis, linear_taps_of, pixel_axis, resize, resize_at_once

_TILE_BYTES = {"cpu": 4 << 20}  # resized logits held at a time: about what a cache holds
_TILE_BYTES_ELSEWHERE = 256 << 20


def in_one(features: Features) -> bool:
    """Whether an answer is computed at once: for gradients, in traced programs, and where only shapes are run."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling() or features.maps[0].is_meta


def dense(
    model: SegmentationNetwork, features: Features, rows: PixelAxis, columns: PixelAxis, max_memory: int | None
) -> Iterator[Tile]:
    """The network asked at every pixel."""
    answers = model.answers(features, max_memory)
    assert answers is not None
    return answers.tiles(rows, columns)


def resized(
    model: SegmentationNetwork, features: Features, rows: PixelAxis, columns: PixelAxis, max_memory: int | None
) -> Iterator[Tile]:
    """The answer on the finest map's grid, resized bilinearly."""
    native = Native(model, features, rows, columns, max_memory)
    for top, bottom, left, right in native.tiles():
        logits = native.resized(native.y.part(top, bottom), native.x.part(left, right))
        yield Tile(slice(top, bottom), slice(left, right), logits)


def resized_in_one(model: SegmentationNetwork, features: Features, rows: PixelAxis, columns: PixelAxis) -> Tensor:
    """The same at once, with gradients: (B, K, h, w)."""
    return resize_at_once(model.native(features), rows, columns, align_corners=model.align_corners)


class Native:
    """A network's logits on the finest map's own grid, where some pixels need them, for resizing to these pixels.

    They are computed once if they fit into half of the memory, and tile by tile otherwise; the other half is for what
    is held while they are computed or resized.
    """

    def __init__(
        self,
        model: SegmentationNetwork,
        features: Features,
        rows: PixelAxis,
        columns: PixelAxis,
        max_memory: int | Budget | None,
    ) -> None:
        self.model, self.features = model, features
        implicit = model.implicit
        self.implicit = implicit if implicit is not None and implicit.foldable else None
        first = features.maps[0]
        self.half = memory_budget(max_memory, first.device).half()
        self.cells = (first.shape[-2], first.shape[-1])
        self.y, self.x = linear_taps_of(rows, columns, first, align_corners=model.align_corners)
        self.value_bytes = first.shape[0] * len(model.classes) * 4
        area = self.y.reach, self.x.reach
        held = len(area[0]) * len(area[1]) * self.value_bytes
        self.kept: tuple[range, range, Tensor] | None = None
        if self.implicit is None or held <= self.half.bytes:
            self.kept = (*area, self._compute(*area))

    def window(self) -> tuple[Tensor, LinearTaps, LinearTaps]:
        """All logits that the pixels need, (B, K, h, w), and how the pixels lie on them."""
        rows, columns, logits = self.kept or (self.y.reach, self.x.reach, self._compute(self.y.reach, self.x.reach))
        return logits, self.y.shift(-rows.start), self.x.shift(-columns.start)

    def resized(self, y: LinearTaps, x: LinearTaps) -> Tensor:
        """Logits of the pixels with taps ``y`` x ``x``."""
        rows, columns, logits = self.kept or (y.reach, x.reach, self._compute(y.reach, x.reach))
        return resize(logits, y.shift(-rows.start), x.shift(-columns.start))

    def tiles(self) -> Iterator[tuple[int, int, int, int]]:
        """Top, bottom, left, right of tiles that fit into the memory."""
        size = len(self.y.left), len(self.x.left)
        down, across = fit_tile(*size, self._footprint, self.half)
        preferred = _TILE_BYTES.get(self.features.maps[0].device.type, _TILE_BYTES_ELSEWHERE)
        down = max(1, min(down, preferred // (across * self.value_bytes)))
        for top in range(0, size[0], down):
            for left in range(0, size[1], across):
                yield top, min(top + down, size[0]), left, min(left + across, size[1])

    def _footprint(self, rows: int, columns: int) -> int:
        """Bytes held at most for a tile: between the two directions, the result, and the cells it needs."""
        height, width = self.cells
        cells = min(height, -(-rows * height // len(self.y.left)) + 2) * min(
            width, -(-columns * width // len(self.x.left)) + 2
        )
        return self.value_bytes * (3 * rows * min(width, columns + 2) + 4 * rows * columns + 2 * cells)

    def _compute(self, rows: range, columns: range) -> Tensor:
        """Logits of a window of the grid."""
        if self.implicit is None:
            whole = self.model.native(self.features)
            return whole[:, :, rows.start : rows.stop, columns.start : columns.stop]
        stream = self.implicit.stream(self.features.maps, max_memory=self.half)
        y, x = (pixel_axis(count) for count in self.cells)
        return stream.grid(y.part(rows.start, rows.stop), x.part(columns.start, columns.stop))


def assemble(tiles: Iterator[Tile], rows: PixelAxis, columns: PixelAxis) -> Tensor:
    """The logits of all tiles as one map (B, K, h, w), channels last."""
    first = next(tiles)
    if first.answers.shape[-2:] == (rows.length, columns.length):
        return first.answers
    batch, classes = first.answers.shape[:2]
    answer = first.answers.new_empty((batch, rows.length, columns.length, classes)).permute(0, 3, 1, 2)
    for tile in chain([first], tiles):
        answer[:, :, tile.rows, tile.columns] = tile.answers
    return answer


def assemble_labels(tiles: Iterator[Tile], rows: PixelAxis, columns: PixelAxis) -> Tensor:
    """The class ids of all tiles as one map (B, h, w)."""
    answer: Tensor | None = None
    for tile in tiles:
        labels = as_labels(tile.answers)
        if answer is None:
            answer = labels.new_empty(labels.shape[0], rows.length, columns.length)
        answer[:, tile.rows, tile.columns] = labels
    assert answer is not None
    return answer


def as_labels(logits: Tensor) -> Tensor:
    """Logits (B, K, …) to the ids of the largest, in the smallest type that holds them all."""
    return logits.argmax(1).to(label_dtype(logits.shape[1]))


def label_dtype(classes: int) -> torch.dtype:
    """uint8 up to 256 classes, int16 up to 32768, int64 beyond."""
    return torch.uint8 if classes <= 256 else torch.int16 if classes <= 1 << 15 else torch.int64
