"""An implicit function in evaluation, tile by tile: batch norms folded, products only of the cells that a tile reads.

Every step of a tile's answer stays in cache, and beyond the answer itself memory depends on the tile alone. Nothing
outlives the call, so nothing can be stale after the weights have changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from featalign.align.budget import Budget, fit_tile, memory_budget
from featalign.align.folded import Folded
from featalign.layers import without_autocast
from featalign.ops import (
    PixelAxis,
    Queries,
    coordinate_dtype,
    gather_rows,
    grid_queries,
    phases,
    pixel_queries,
    point_queries,
    product,
    result_dtype,
    windows,
)

_TILE_BYTES = {"cpu": 8 << 20}  # hidden activations held at a time: about what a cache holds
_TILE_BYTES_ELSEWHERE = 256 << 20


class Tile(NamedTuple):
    """Answers (B, K, h, w) to the pixels ``rows`` x ``columns`` of a grid."""

    rows: slice
    columns: slice
    answers: Tensor


class Stream:
    """The answers of a folded function to one pyramid.

    Args:
        folded: layers, in the precision of the computation.
        codes: position encoding per level.
        levels: (B, C_i, h_i, w_i).
        blend: see :func:`~featalign.ops.cells.grid_taps`.
        max_memory: bytes held besides levels and answers; None for half of what is free.
    """

    def __init__(
        self,
        folded: Folded,
        codes: Iterable[nn.Module],
        levels: Sequence[Tensor],
        *,
        blend: bool,
        max_memory: int | Budget | None = None,
    ) -> None:
        self.folded, self.codes, self.blend = folded, codes, blend
        self.levels = [level.contiguous(memory_format=torch.channels_last) for level in levels]
        self.shapes = [(level.shape[-2], level.shape[-1]) for level in levels]
        self.batch, self.device, self.dtype = levels[0].shape[0], levels[0].device, folded.bias.dtype
        self.coordinates = coordinate_dtype(levels[0])
        self.result = result_dtype(levels[0])
        self.budget = memory_budget(max_memory, self.device)

    def grid(self, rows: PixelAxis, columns: PixelAxis) -> Tensor:
        """All pixels of a grid: (B, K, h, w), channels last."""
        size = (self.batch, self.folded.widths[-1], rows.length, columns.length)
        answer = torch.empty(size, dtype=self.result, device=self.device, memory_format=torch.channels_last)
        for tile in self.tiles(rows, columns):
            answer[:, :, tile.rows, tile.columns] = tile.answers
        return answer

    def tiles(self, rows: PixelAxis, columns: PixelAxis) -> Iterator[Tile]:
        """All pixels of a grid, in tiles from the top left."""
        down, across = self._tile(rows, columns)
        for top in range(0, rows.length, down):
            for left in range(0, columns.length, across):
                bottom, right = min(top + down, rows.length), min(left + across, columns.length)
                answers = self._grid(rows.part(top, bottom), columns.part(left, right))
                image = answers.unflatten(1, (bottom - top, right - left)).permute(0, 3, 1, 2)
                yield Tile(slice(top, bottom), slice(left, right), image)

    def points(self, points: Tensor) -> Tensor:
        """Any points (B or 1, N, 2), (x, y) in [0, 1]: (B, K, N)."""
        answer = torch.empty(
            (self.batch, points.shape[1], self.folded.widths[-1]), dtype=self.result, device=self.device
        )
        for chunk in self._chunks(points.shape[1]):
            queries = point_queries(points[:, chunk], self.shapes, blend=self.blend)
            answer[:, chunk] = self._answer(self.levels, queries)
        return answer.transpose(1, 2)

    def pixels(
        self, row: Tensor, column: Tensor, rows: PixelAxis, columns: PixelAxis
    ) -> Iterator[tuple[slice, Tensor]]:
        """Some pixels of a grid by their indices (N,), in order of rows: slices of N and answers (B, n, K)."""
        for chunk in self._chunks(len(row)):
            top, bottom = int(row[chunk.start]), int(row[chunk.stop - 1]) + 1
            part = rows.part(top, bottom)
            read = windows(part, columns, self.shapes, blend=self.blend)
            queries = pixel_queries(
                row[chunk] - top,
                column[chunk],
                part,
                columns,
                self.shapes,
                blend=self.blend,
                within=read,
                dtype=self.coordinates,
            )
            yield (
                chunk,
                self._answer([window.of(level) for window, level in zip(read, self.levels, strict=True)], queries),
            )

    def _grid(self, rows: PixelAxis, columns: PixelAxis) -> Tensor:
        read = windows(rows, columns, self.shapes, blend=self.blend)
        queries = grid_queries(
            rows, columns, self.shapes, blend=self.blend, within=read, device=self.device, dtype=self.coordinates
        )
        return self._answer([window.of(level) for window, level in zip(read, self.levels, strict=True)], queries)

    def _answer(self, maps: Sequence[Tensor], queries: Queries) -> Tensor:
        """Answers (B, N, K) from maps that ``queries`` count their cells in."""
        with torch.no_grad(), without_autocast(self.device.type):  # precision is settled
            hidden = self._hidden(maps, queries).relu_()
            *inner, last = self.folded.layers
            for weight, bias in inner:
                hidden = product(hidden, weight, bias).relu_()
            return product(hidden, *last).unflatten(0, (self.batch, -1)).to(self.result)

    def _hidden(self, maps: Sequence[Tensor], queries: Queries) -> Tensor:
        """The first layer at every query: (B * N, hidden)."""
        rows, position = [self._rows(level) for level in maps], self._position(queries)
        # Where there are fewer queries than cells, the codes are taken first and multiplied after.
        early = [len(level) <= self.batch * queries.phase.shape[1] for level in rows]
        first = [i for i, multiplied in enumerate(early) if multiplied]
        table = position.new_empty(sum(len(rows[i]) for i in first) + len(position), position.shape[1])
        sizes, start = [], 0
        for i in first:
            table[start : start + len(rows[i])] = product(rows[i], self.folded.content[i])
            sizes.append((self.batch, len(rows[i]) // self.batch))
            start += len(rows[i])
        table[start:] = position
        phases_each = queries.offsets[0].shape[1]
        sizes.append((len(position) // phases_each, phases_each))
        cells = [*(queries.cells[i] for i in first), queries.phase]
        shares = [*(queries.shares[i] for i in first), torch.ones_like(queries.phase, dtype=self.dtype)]
        hidden = gather_rows(table, sizes, cells, shares if self.blend else None, batch=self.batch).flatten(0, 1)
        for i, level in enumerate(rows):
            if not early[i]:
                hidden += product(self._codes(level, i, queries), self.folded.content[i])
        return hidden

    def _codes(self, level: Tensor, i: int, queries: Queries) -> Tensor:
        """The latent codes of a level at every query: (B * N, C)."""
        size = [(self.batch, len(level) // self.batch)]
        shares = [queries.shares[i]] if self.blend else None
        return gather_rows(level, size, [queries.cells[i]], shares, batch=self.batch).flatten(0, 1)

    def _position(self, queries: Queries) -> Tensor:
        """Bias and position block at every distinct relative coordinate: (P, hidden), or (B * P, hidden)."""
        codes = position_codes(self.codes, queries).to(self.dtype).flatten(0, 1)
        return product(codes, self.folded.position, self.folded.bias)

    def _rows(self, level: Tensor) -> Tensor:
        """(B, C, h, w) to (B * h * w, C); no copy where the level lies so."""
        return level.permute(0, 2, 3, 1).reshape(-1, level.shape[1]).to(self.dtype)

    def _tile(self, rows: PixelAxis, columns: PixelAxis) -> tuple[int, int]:
        """Rows and columns of a tile: of those that fit, the one with the least first layer per pixel.

        Wide tiles have few relative coordinates; square ones read few cells that their neighbours read too.
        """

        def first_layer(down: int, across: int) -> tuple[list[int], int]:
            cells = [_most(rows, h, down, self.blend) * _most(columns, w, across, self.blend) for h, w in self.shapes]
            period = phases(rows.part(0, down), columns.part(0, across), self.shapes)
            return cells, period[0] * period[1]

        def footprint(down: int, across: int) -> int:
            return self._footprint(down * across, *first_layer(down, across))

        def work(tile: tuple[int, int]) -> float:
            cells, distinct = first_layer(*tile)
            content = sum(n * level.shape[1] for n, level in zip(cells, self.levels, strict=True))
            return (self.batch * content + distinct * self.folded.position.shape[0]) / (tile[0] * tile[1])

        down, across = fit_tile(rows.length, columns.length, footprint, self.budget)
        widths = [-(-across // parts) for parts in (1, 2, 4, 8, 16, 32)]
        return min(((max(1, min(down, self._preferred // width)), width) for width in widths), key=work)

    def _chunks(self, count: int) -> Iterator[slice]:
        """Slices of ``count`` points, each of which may read every cell and have its own relative coordinate."""
        cells = [h * w for h, w in self.shapes]

        def footprint(_: int, points: int) -> int:
            return self._footprint(points, [min(points, n) for n in cells], self.batch * points)

        step = min(self._preferred, fit_tile(1, count, footprint, self.budget)[1])
        return (slice(start, min(start + step, count)) for start in range(0, count, step))

    @property
    def _preferred(self) -> int:
        """Queries per image whose hidden activations stay in cache."""
        size = _TILE_BYTES.get(self.device.type, _TILE_BYTES_ELSEWHERE)
        return max(1, size // (self.batch * self.folded.widths[0] * self.dtype.itemsize))

    def _footprint(self, queries: int, cells: Sequence[int], distinct: int) -> int:
        """Bytes held at most for so many queries per image, cells read per level and distinct relative coordinates."""
        value, index, coordinate = self.dtype.itemsize, 8, self.coordinates.itemsize
        channels = [level.shape[1] for level in self.levels]
        widths, taps = self.folded.widths, (4 if self.blend else 1)
        early = [n for n in cells if n <= queries]
        reads = queries * self.batch * (len(cells) * taps + 1) * (3 * index + 3 * coordinate)
        codes = distinct * (self.folded.position.shape[0] * (2 + taps) * coordinate + 16 * taps * coordinate)
        maps = self.batch * sum(n * c for n, c in zip(cells, channels, strict=True)) * value
        table = (self.batch * (sum(early) + max(early, default=0)) + 2 * distinct) * widths[0] * value
        hidden = self.batch * queries * widths[0] * value
        late = self.batch * queries * (max(channels) + widths[0]) * value if len(early) < len(cells) else 0
        rest = self.batch * queries * max(map(sum, pairwise(widths))) * value
        return reads + max(codes + maps + table + hidden + late, rest)


def position_codes(codes: Iterable[nn.Module], queries: Queries) -> Tensor:
    """The codes of all levels at every distinct relative coordinate, side by side: (B or 1, P, channels)."""
    blended = [
        (code(offset) * share[..., None]).sum(-2)
        for code, offset, share in zip(codes, queries.offsets, queries.offset_shares, strict=True)
    ]
    return torch.cat(blended, -1)


def compute_dtype(level: Tensor) -> torch.dtype:
    """The type of the result, or float32 where the processor has no arithmetic of half precision."""
    dtype = result_dtype(level)
    return torch.float32 if level.device.type == "cpu" and dtype.itemsize == 2 and not _half_on_cpu() else dtype


@cache
def _half_on_cpu() -> bool:
    """Whether the processor has arithmetic of half precision. oneDNN says; builds of torch without it do not ask it."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _most(axis: PixelAxis, cells: int, pixels: int, blend: bool) -> int:
    """Cells that so many pixels in a row read at most."""
    borders = -(-(pixels - 1) * axis.step * cells // axis.whole)  # crossed between the first pixel and the last
    return min(cells, borders + 1 + blend)
