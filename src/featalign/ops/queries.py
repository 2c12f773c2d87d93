"""A set of queries against a pyramid: which cells each reads in every level, and at which relative coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from featalign.ops.axes import PixelAxis
from featalign.ops.cells import Taps, cross_cells, cross_offsets, grid_taps, point_taps

Shapes = Sequence[tuple[int, int]]
_Pair = tuple[Taps, Taps]  # along the rows, along the columns


class Queries(NamedTuple):
    """N queries with T taps in each level. Leading axis: B, or 1 where the whole batch is asked alike.

    ``cells``, ``shares``: per level (B or 1, N, T), index into the flattened map and weight.
    ``offsets``, ``offset_shares``: per level the P distinct relative coordinates, (B or 1, P, T, 2) in (row, column)
    order and half cells, and their weights (B or 1, P, T).
    ``phase``: (1, N, 1), which of the P each query has.
    """

    cells: list[Tensor]
    shares: list[Tensor]
    offsets: list[Tensor]
    offset_shares: list[Tensor]
    phase: Tensor


class Window(NamedTuple):
    """The cells of a map that some queries read: a rectangle."""

    rows: range
    columns: range

    @property
    def cells(self) -> int:
        return len(self.rows) * len(self.columns)

    def of(self, level: Tensor) -> Tensor:
        """The window of a map (B, C, h, w)."""
        return level[:, :, self.rows.start : self.rows.stop, self.columns.start : self.columns.stop]


def windows(rows: PixelAxis, columns: PixelAxis, shapes: Shapes, *, blend: bool) -> list[Window]:
    """What the pixels of ``rows`` x ``columns`` read of maps of ``shapes``."""
    return [Window(rows.reach(h, blend=blend), columns.reach(w, blend=blend)) for h, w in shapes]


def phases(rows: PixelAxis, columns: PixelAxis, shapes: Shapes) -> tuple[int, int]:
    """How many distinct rows and columns of relative coordinates the pixels have.

    Few on regular grids (8 x 8 when strides 4 … 32 are asked at stride 4), at most as many as there are pixels.
    """
    if torch.compiler.is_exporting():  # sizes may be symbols, which have no common divisor
        return rows.length, columns.length
    down = math.lcm(*(rows.period(h) for h, _ in shapes))
    across = math.lcm(*(columns.period(w) for _, w in shapes))
    return min(down, rows.length), min(across, columns.length)


def grid_queries(
    rows: PixelAxis,
    columns: PixelAxis,
    shapes: Shapes,
    *,
    blend: bool = False,
    within: Sequence[Window] | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Queries:
    """The pixels of ``rows`` x ``columns``, row by row; each distinct relative coordinate is listed once.

    Args:
        rows, columns: any part of the image, at any pitch.
        shapes: (h, w) of the levels.
        blend: see :func:`~featalign.ops.cells.grid_taps`.
        within: cells are counted in these windows of the levels, see :func:`windows`.
    """
    down, across = phases(rows, columns, shapes)
    row = torch.arange(rows.length, device=device)[:, None] % down
    column = torch.arange(columns.length, device=device) % across
    taps = _axis_taps(rows, columns, shapes, blend=blend, device=device, dtype=dtype)
    taps, shapes = _counted_within(taps, shapes, within)
    grids = [(y.unsqueeze(1), x.unsqueeze(0)) for y, x in taps]
    return _shared_by_batch(grids, shapes, _tile(taps, down, across), row * across + column)


def pixel_queries(
    row: Tensor,
    column: Tensor,
    rows: PixelAxis,
    columns: PixelAxis,
    shapes: Shapes,
    *,
    blend: bool = False,
    within: Sequence[Window] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Queries:
    """Some pixels of the grid ``rows`` x ``columns``, by their indices (N,): what :func:`grid_queries` has for them."""
    down, across = phases(rows, columns, shapes)
    taps = _axis_taps(rows, columns, shapes, blend=blend, device=row.device, dtype=dtype)
    taps, shapes = _counted_within(taps, shapes, within)
    pairs = [(y.select(row), x.select(column)) for y, x in taps]
    if down * across > len(row):
        return _shared_by_batch(pairs, shapes, pairs, torch.arange(len(row), device=row.device))
    return _shared_by_batch(pairs, shapes, _tile(taps, down, across), row % down * across + column % across)


def answers_at(points: Tensor, batch: int, ask: Callable[[Tensor], Tensor]) -> Tensor:
    """What ``ask`` answers, (B, K, N) at (B or 1, N, 2), at points of any number, none too.

    Args:
        points: (B or 1, …, 2), (x, y) in [0, 1].
        batch: B.
        ask: the answers at one list of points.

    Returns:
        (B, K, …).

    Raises:
        ValueError: for points of another shape, or that are not finite, see :func:`check_points`.
    """
    check_points(points, batch)
    flat = points.flatten(1, -2)
    # Of none: asked at some point that is then left out, so that classes, type and graph are those of all answers.
    answers = ask(flat) if flat.shape[1] else ask(flat.new_zeros(1, 1, 2))[:, :, :0]
    return answers.reshape(*answers.shape[:2], *points.shape[1:-1])


def check_points(points: Tensor, batch: int) -> None:
    """Refuse points that are not (``batch`` or 1, …, 2), or not finite. Raises ValueError.

    Their values are looked at on the CPU alone: elsewhere that would wait for the device, and the answer at a point
    that is not finite is undefined.
    """
    if points.ndim < 3 or points.shape[-1] != 2 or points.shape[0] not in (1, batch):
        first = "1" if batch == 1 else f"{batch} or 1"
        raise ValueError(
            f"got points {tuple(points.shape)} for a batch of {batch}; expected ({first}, …, 2), (x, y) in [0, 1]"
        )
    if points.device.type == "cpu" and not torch.compiler.is_compiling() and not points.isfinite().all():
        raise ValueError("got points with nan or infinity; expected (x, y) in [0, 1]")


def point_queries(points: Tensor, shapes: Shapes, *, blend: bool = False) -> Queries:
    """Any points (B or 1, N, 2), (x, y) in [0, 1]; every point has its own relative coordinates (P = N)."""
    x, y = points.unbind(-1)
    taps = [(point_taps(y, h, blend=blend), point_taps(x, w, blend=blend), w) for h, w in shapes]
    reads = [cross_cells(rows, columns, width=w) for rows, columns, w in taps]
    return Queries(
        cells=[cell for cell, _ in reads],
        shares=[share for _, share in reads],
        offsets=[cross_offsets(rows, columns) for rows, columns, _ in taps],
        offset_shares=[share for _, share in reads],
        phase=torch.arange(points.shape[1], device=points.device).view(1, -1, 1),
    )


def _axis_taps(
    rows: PixelAxis,
    columns: PixelAxis,
    shapes: Shapes,
    *,
    blend: bool,
    device: torch.device | None,
    dtype: torch.dtype,
) -> list[_Pair]:
    return [
        (
            grid_taps(rows, h, blend=blend, device=device, dtype=dtype),
            grid_taps(columns, w, blend=blend, device=device, dtype=dtype),
        )
        for h, w in shapes
    ]


def _counted_within(taps: list[_Pair], shapes: Shapes, within: Sequence[Window] | None) -> tuple[list[_Pair], Shapes]:
    """Taps whose cells count from the corners of windows of the maps, and the windows' shapes."""
    if within is None:
        return taps, shapes
    moved = [(y.shift(-w.rows.start), x.shift(-w.columns.start)) for (y, x), w in zip(taps, within, strict=True)]
    return moved, [(len(window.rows), len(window.columns)) for window in within]


def _tile(taps: Sequence[_Pair], down: int, across: int) -> list[_Pair]:
    """One period of the relative coordinates, as a grid."""
    return [(Taps(*(f[:down, None] for f in y)), Taps(*(f[None, :across] for f in x))) for y, x in taps]


def _shared_by_batch(reads: Sequence[_Pair], shapes: Shapes, tile: Sequence[_Pair], phase: Tensor) -> Queries:
    """Queries that are the same for every image, of any number of leading axes."""
    crossed = [cross_cells(y, x, width=w) for (y, x), (_, w) in zip(reads, shapes, strict=True)]
    return Queries(
        cells=[cell.flatten(0, -2)[None] for cell, _ in crossed],
        shares=[share.flatten(0, -2)[None] for _, share in crossed],
        offsets=[cross_offsets(y, x).flatten(0, -3)[None] for y, x in tile],
        offset_shares=[cross_cells(y, x, width=1)[1].flatten(0, -2)[None] for y, x in tile],
        phase=phase.flatten().view(1, -1, 1),
    )
