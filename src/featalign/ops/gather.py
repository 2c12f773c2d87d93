"""Gathering from several maps and adding up, in one pass over the output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def gather_sum(tables: Sequence[Tensor], cells: Sequence[Tensor], weights: Sequence[Tensor] | None = None) -> Tensor:
    """For every query the (weighted) sum of the rows that it takes from each table.

    One call of ``embedding_bag`` reads each row once and writes each output once: several times faster than resampling
    the tables one by one and adding them.

    Args:
        tables: per table (B, rows, C), or (1, rows, C) for one that the whole batch shares.
        cells: per table int64 row indices (B or 1, queries, T); T may differ between tables.
        weights: per table (B or 1, queries, T), or None where every weight is 1.

    Returns:
        (B, queries, C) in the dtype of the tables.
    """
    batch = max(max(table.shape[0] for table in tables), max(index.shape[0] for index in cells))
    queries = cells[0].shape[-2]
    start, indices = 0, []
    for table, index in zip(tables, cells, strict=True):
        step = 0 if table.shape[0] == 1 else table.shape[1]
        origin = start + step * torch.arange(batch, device=index.device)[:, None, None]
        indices.append((index + origin).expand(batch, -1, -1))
        start += table.shape[0] * table.shape[1]
    rows = torch.cat([table.flatten(0, 1) for table in tables]) if len(tables) > 1 else tables[0].flatten(0, 1)
    shares = None
    if weights is not None:
        shares = torch.cat([weight.expand(batch, -1, -1) for weight in weights], -1).flatten(0, 1).to(rows.dtype)
    bags = torch.cat(indices, -1).flatten(0, 1)
    return F.embedding_bag(bags, rows, mode="sum", per_sample_weights=shares).view(batch, queries, -1)
