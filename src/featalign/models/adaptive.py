"""The network's own answer only where the resized one is not to be trusted: where two classes are nearly equal.

    logits of the feature grid ─▶ quads of four cells that agree and are sure: their pixels are settled
                                └▶ all other quads: resized logits at their pixels ─▶ margin of the best two classes
                                     ─▶ the smallest margins, as many as ``effort`` allows, are asked

A resized logit lies between those of four cells. Where all four have the same best class, by more than some margin, so
has every pixel between them: leaving these quads out changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.align.budget import Budget, fit_tile, memory_budget
from featalign.models.decoding import Native, as_labels, assemble, label_dtype, resized
from featalign.models.network import Features, SegmentationNetwork
from featalign.ops import LinearTaps, PixelAxis, gather_rows

EFFORT = 0.1
_LOOKED_AT = 1.5  # pixels of agreeing quads whose margin is computed too, per pixel that may be asked
_CHUNK, _READ_BYTES = 1 << 16, 256  # pixels whose logits are read at a time; what one takes besides these
_CELL_BYTES, _PIXEL_BYTES = 48, 40  # held at most for a cell, besides its logits twice; and for a pixel


class Doubts(NamedTuple):
    """Pixels of one image in order of rows: those looked at, their resized labels, and which of them to ask."""

    row: Tensor
    column: Tensor
    labels: Tensor
    ask: Tensor


class Part(NamedTuple):
    """Pixels of an answer that are looked at together: which they are, and where they lie."""

    place: tuple[slice, slice]
    rows: PixelAxis
    columns: PixelAxis


@torch.no_grad()
def adaptive_logits(
    model: SegmentationNetwork,
    features: Features,
    rows: PixelAxis,
    columns: PixelAxis,
    *,
    effort: float,
    max_memory: int | None,
) -> Tensor:
    """Resized logits (B, K, h, w), with the network's own where they were asked."""
    logits = assemble(resized(model, features, rows, columns, max_memory), rows, columns)
    parts, within = _parts(model, features, rows, columns, max_memory)
    for image, one in enumerate(_each(features)):
        for part in parts:
            target = logits[image][:, *part.place]
            found = doubts(*Native(model, one, part.rows, part.columns, within).window(), effort, within.bytes)
            for row, column, answers in _asked(model, one, found, part, within):
                target[:, row, column] = answers.T
    return logits


@torch.no_grad()
def adaptive_labels(
    model: SegmentationNetwork,
    features: Features,
    rows: PixelAxis,
    columns: PixelAxis,
    *,
    effort: float,
    max_memory: int | None,
) -> Tensor:
    """Class ids (B, h, w) of :func:`adaptive_logits`; logits exist at the pixels looked at alone."""
    first, kind = features.maps[0], label_dtype(len(model.classes))
    labels = torch.empty((first.shape[0], rows.length, columns.length), dtype=kind, device=first.device)
    parts, within = _parts(model, features, rows, columns, max_memory)
    for image, one in enumerate(_each(features)):
        for part in parts:
            target = labels[image][part.place]
            logits, y, x = Native(model, one, part.rows, part.columns, within).window()
            found = doubts(logits, y, x, effort, within.bytes)
            target.copy_(as_labels(logits)[0][y.left][:, x.left])
            target[found.row, found.column] = found.labels
            for row, column, answers in _asked(model, one, found, part, within):
                target[row, column] = as_labels(answers)
    return labels


def _parts(
    model: SegmentationNetwork, features: Features, rows: PixelAxis, columns: PixelAxis, max_memory: int | None
) -> tuple[list[Part], Budget]:
    """The answer in parts whose doubts fit into half of the memory, one if possible; and the other half.

    Raises:
        ConfigError: if not even one pixel fits.
    """
    first = features.maps[0]
    half = memory_budget(max_memory, first.device).half()
    pitch = [axis.step * cells / axis.whole for axis, cells in zip((rows, columns), first.shape[-2:], strict=True)]

    def footprint(down: int, across: int) -> int:
        cells = (down * pitch[0] + 2) * (across * pitch[1] + 2)
        return int(cells * (8 * len(model.classes) + _CELL_BYTES)) + down * across * _PIXEL_BYTES

    down, across = fit_tile(rows.length, columns.length, footprint, half)
    parts = [
        Part(
            (slice(top, min(top + down, rows.length)), slice(left, min(left + across, columns.length))),
            rows.part(top, min(top + down, rows.length)),
            columns.part(left, min(left + across, columns.length)),
        )
        for top in range(0, rows.length, down)
        for left in range(0, columns.length, across)
    ]
    return parts, half


def doubts(logits: Tensor, y: LinearTaps, x: LinearTaps, effort: float, memory: int) -> Doubts:
    """Which pixels to ask.

    Args:
        logits: (1, K, h, w) on the feature grid.
        y, x: how the pixels lie on it.
        effort: the largest share of the pixels to ask.
        memory: bytes for reading logits at pixels.
    """
    looked = _quads(logits, effort)[y.left][:, x.left]
    row, column = looked.nonzero().unbind(1)
    labels = torch.empty(len(row), dtype=label_dtype(logits.shape[1]), device=logits.device)
    margins = torch.empty(len(row), device=logits.device)
    chunk = max(1, min(_CHUNK, memory // (12 * logits.shape[1] + _READ_BYTES)))
    for start in range(0, len(row), chunk):
        part = slice(start, start + chunk)
        values, classes = _read(logits, y, x, row[part], column[part]).topk(2, 1)
        labels[part], margins[part] = classes[:, 0].to(labels.dtype), values[:, 0] - values[:, 1]
    count = min(len(row), math.floor(effort * looked.numel()))
    ask = torch.zeros_like(row, dtype=torch.bool)
    ask[margins.topk(count, largest=False, sorted=False).indices] = True
    return Doubts(row, column, labels, ask)


def _quads(logits: Tensor, effort: float) -> Tensor:
    """By their top left cell, (h, w): the quads of cells that differ in their best class, and the least sure others."""
    values, classes = logits[0].topk(2, 0)
    sure, best = values[0] - values[1], classes[0]
    sure = -F.max_pool2d(F.pad(-sure[None], (0, 1, 0, 1), value=-math.inf), 2, 1)[0]  # the least of the four
    best = F.pad(best[None].float(), (0, 1, 0, 1), mode="replicate")
    same = F.max_pool2d(best, 2, 1) == -F.max_pool2d(-best, 2, 1)
    sure = torch.where(same[0], sure.float(), -1.0)
    wanted = int((sure < 0).sum()) + math.ceil(_LOOKED_AT * effort * sure.numel())
    return (sure < 0) | (sure <= sure.flatten().kthvalue(min(max(wanted, 1), sure.numel())).values)


def _read(logits: Tensor, y: LinearTaps, x: LinearTaps, row: Tensor, column: Tensor) -> Tensor:
    """Resized logits at some pixels: (n, K)."""
    width = logits.shape[-1]
    rows, down = torch.stack((y.left[row], y.right[row]), 1) * width, y.share[row, None]
    columns, across = torch.stack((x.left[column], x.right[column]), 1), x.share[column, None]
    cells = (rows[:, :, None] + columns[:, None]).flatten(1)[None]
    shares = torch.cat(((1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across), 1)[None]
    table = logits.permute(0, 2, 3, 1).flatten(0, 2).float()
    return gather_rows(table, [(1, len(table))], [cells], [shares], batch=1)[0]


def _asked(
    model: SegmentationNetwork, features: Features, found: Doubts, part: Part, max_memory: Budget
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows, columns and the network's logits (n, K) of the pixels to ask."""
    row, column = found.row[found.ask], found.column[found.ask]
    answers = model.answers(features, max_memory)
    assert answers is not None
    if len(row):
        for chunk, logits in answers.pixels(row, column, part.rows, part.columns):
            yield row[chunk], column[chunk], logits[0]


def _each(features: Features) -> Iterator[Features]:
    """The features of one image after the other: their doubts lie elsewhere."""
    for image in range(features.maps[0].shape[0]):
        yield features._replace(maps=[level[image : image + 1] for level in features.maps])
