"""Gathering from several maps and adding up, in one pass over the output."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor


def gather_sum(tables: Sequence[Tensor], cells: Sequence[Tensor], weights: Sequence[Tensor] | None = None) -> Tensor:
    """For every query the (weighted) sum of the rows that it takes from each table.

    Args:
        tables: per table (B, rows, C), or (1, rows, C) for one that the whole batch shares.
        cells: per table int64 row indices (B or 1, queries, T); T may differ between tables.
        weights: per table (B or 1, queries, T), or None where every weight is 1.

    Returns:
        (B, queries, C) in the dtype of the tables.
    """
    images = [leading.shape[0] for leading in (*tables, *cells)]
    batch = 0 if 0 in images else max(images)
    rows = torch.cat([table.flatten(0, 1) for table in tables]) if len(tables) > 1 else tables[0].flatten(0, 1)
    sizes = [table.shape[:2] for table in tables]
    return gather_rows(rows, [(size[0], size[1]) for size in sizes], cells, weights, batch=batch)


def gather_rows(
    rows: Tensor,
    sizes: Sequence[tuple[int, int]],
    cells: Sequence[Tensor],
    weights: Sequence[Tensor] | None = None,
    *,
    batch: int,
) -> Tensor:
    """:func:`gather_sum` from tables that lie one after the other in ``rows`` (R, C): (batch, queries, C).

    One call of ``embedding_bag`` reads each row once and writes each output once: several times faster than resampling
    the tables one by one and adding them.

    Args:
        rows: all tables.
        sizes: per table (B or 1, its rows), in order.
        cells, weights: as of :func:`gather_sum`.
        batch: B.
    """
    starts = accumulate((images * count for images, count in sizes[:-1]), initial=0)
    indices = []
    for start, (images, count), index in zip(starts, sizes, cells, strict=True):
        image = torch.arange(batch, device=index.device)[:, None, None] * (0 if images == 1 else count)
        indices.append((index + (image + start)).expand(batch, -1, -1))
    shares = None
    if weights is not None:
        shares = torch.cat([weight.expand(batch, -1, -1) for weight in weights], -1).flatten(0, 1).to(rows.dtype)
    bags = torch.cat(indices, -1).flatten(0, 1)
    size = batch, cells[0].shape[1], rows.shape[1]
    if torch.compiler.is_exporting():
        return _tap_by_tap(rows, bags, shares).view(size)
    return F.embedding_bag(bags, rows, mode="sum", per_sample_weights=shares).view(size)


def _tap_by_tap(rows: Tensor, bags: Tensor, shares: Tensor | None) -> Tensor:
    """``embedding_bag`` in operators that every runtime has and runs at sizes not known before: (Q, T) to (Q, C)."""
    taken = [F.embedding(index, rows) for index in bags.unbind(-1)]
    if shares is not None:
        taken = [values * share[:, None] for values, share in zip(taken, shares.unbind(-1), strict=True)]
    return sum(taken[1:], start=taken[0])
