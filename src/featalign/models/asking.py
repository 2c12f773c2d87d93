"""Asking a network at points in chunks that fit into the memory, whatever answers there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from featalign.align.budget import Budget, fit_tile, memory_budget
from featalign.align.streaming import Tile
from featalign.ops import PixelAxis

_CHUNK_VALUES = {"cpu": 4 << 20}  # numbers held at a time: about what a cache holds
_CHUNK_VALUES_ELSEWHERE = 256 << 20


class Answers(Protocol):
    """A network's own answers for one set of features: an implicit function's ``Stream``, or :class:`Pointwise`."""

    def tiles(self, rows: PixelAxis, columns: PixelAxis) -> Iterator[Tile]:
        """To all pixels of a grid."""

    def pixels(
        self, row: Tensor, column: Tensor, rows: PixelAxis, columns: PixelAxis
    ) -> Iterator[tuple[slice, Tensor]]:
        """To some pixels of a grid by their indices (N,), in order of rows: slices of N and answers (B, n, K)."""

    def points(self, points: Tensor) -> Tensor:
        """To points (B or 1, N, 2), (x, y) in [0, 1]: (B, K, N)."""


class Pointwise:
    """Answers of anything that can be asked at points.

    Args:
        ask: points (B or 1, N, 2) to logits (B, K, N).
        device: of the points.
        values: how many numbers ``ask`` holds per point and batch.
        max_memory: bytes held besides features and answer; None for half of what is free.
    """

    def __init__(
        self,
        ask: Callable[[Tensor], Tensor],
        *,
        device: torch.device,
        values: int,
        max_memory: int | Budget | None = None,
    ) -> None:
        self.ask, self.device = ask, device
        self.budget, self.values = memory_budget(max_memory, device), values
        self.preferred = max(1, _CHUNK_VALUES.get(device.type, _CHUNK_VALUES_ELSEWHERE) // values)

    def tiles(self, rows: PixelAxis, columns: PixelAxis) -> Iterator[Tile]:
        down, across = fit_tile(rows.length, columns.length, self._footprint, self.budget)
        down = max(1, min(down, self.preferred // across))
        for top in range(0, rows.length, down):
            for left in range(0, columns.length, across):
                part = slice(top, min(top + down, rows.length)), slice(left, min(left + across, columns.length))
                area = rows.part(part[0].start, part[0].stop), columns.part(part[1].start, part[1].stop)
                logits = self.ask(pixel_points(*area, self.device))
                yield Tile(*part, logits.unflatten(2, (area[0].length, area[1].length)))

    def pixels(
        self, row: Tensor, column: Tensor, rows: PixelAxis, columns: PixelAxis
    ) -> Iterator[tuple[slice, Tensor]]:
        y, x = rows.centres(device=self.device), columns.centres(device=self.device)
        for chunk in self._chunks(len(row)):
            points = torch.stack((x[column[chunk]], y[row[chunk]]), -1)
            yield chunk, self.ask(points[None]).transpose(1, 2)

    def points(self, points: Tensor) -> Tensor:
        parts = [self.ask(points[:, chunk]) for chunk in self._chunks(points.shape[1])]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 2)

    def _chunks(self, count: int) -> Iterator[slice]:
        step = min(self.preferred, fit_tile(1, max(count, 1), self._footprint, self.budget)[1])
        return (slice(start, min(start + step, count)) for start in range(0, max(count, 1), step))

    def _footprint(self, rows: int, columns: int) -> int:
        return 8 * rows * columns * self.values


def pixel_points(rows: PixelAxis, columns: PixelAxis, device: torch.device) -> Tensor:
    """The centres of all pixels, row by row: (1, N, 2), (x, y) in [0, 1]."""
    grid = torch.meshgrid(columns.centres(device=device), rows.centres(device=device), indexing="xy")
    return torch.stack(grid, -1).flatten(0, 1)[None]


def between_cells(ask: Callable[[Tensor], Tensor], cells: tuple[int, int], points: Tensor) -> Tensor:
    """Bilinear between the answers at the centres of the four cells around each point: (B, K, N).

    What :func:`~featalign.ops.sample_at` reads of the map of all answers, of which only these four are computed.

    Args:
        ask: points (B or 1, N, 2) to answers (B, K, N).
        cells: (height, width) of the map.
        points: (B or 1, N, 2), (x, y) in [0, 1].
    """
    points = points.to(torch.promote_types(points.dtype, torch.float32))
    size = points.new_tensor([cells[1], cells[0]])
    place = (points * size - 0.5).clamp(min=0).minimum(size - 1)
    first = place.floor()
    corners = points.new_tensor([[0, 0], [1, 0], [0, 1], [1, 1]])
    centres = ((first[..., None, :] + corners).minimum(size - 1) + 0.5) / size
    share = (place - first)[..., None, :]
    weights = torch.where(corners > 0, share, 1 - share).prod(-1)
    answers = ask(centres.flatten(1, 2)).unflatten(2, (-1, 4))
    return (answers * weights[:, None]).sum(-1).to(answers.dtype)
