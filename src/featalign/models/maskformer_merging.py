"""From classes and masks of queries to segments, and to a class at each pixel (MaskFormer, NeurIPS 2021, sec. 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from featalign.models.panoptic_merging import Segments

_ROWS = 64  # of the image whose classes are found at a time


@dataclass(frozen=True)
class QueryMerging:
    """What becomes a segment, with the published values.

    ``score``: the least probability of a query's class. ``overlap``: the least area that a query is left with, as a
    share of its mask, which is where it says 0.5 or more. ``pixel``: what a query must say of a pixel to have it; with
    0 every pixel goes to the surest query, as published, with 0.5 what is in no mask is void, as in the later
    Mask2Former.
    """

    score: float = 0.8
    overlap: float = 0.8
    pixel: float = 0.0


def merge_queries(classes: Tensor, masks: Tensor, stuff: Sequence[int], merging: QueryMerging) -> Segments:
    """Each pixel goes to the query with the largest product of probabilities; stuff of one class is one segment.

    Args:
        classes: logits (Q, K + 1), the last for no object.
        masks: logits (Q, H, W).
        stuff: ids of the classes whose objects are not told apart.
        merging: the rules.
    """
    scores, labels = classes.softmax(-1).max(-1)
    kept = (labels < classes.shape[1] - 1) & (scores > merging.score)
    scores, labels, masks = scores[kept], labels[kept], masks[kept].sigmoid()
    segments = torch.zeros(masks.shape[1:], dtype=torch.int64, device=masks.device)
    if not len(scores):
        return Segments(segments, labels, scores.float())
    owner = (scores[:, None, None] * masks).argmax(0)
    found: list[int] = []
    numbers: dict[int, int] = {}
    for query, label in enumerate(labels.tolist()):
        mine = owner == query
        own = mine & (masks[query] >= merging.pixel)
        inside = int((masks[query] >= 0.5).sum())
        if not inside or not own.any() or int(mine.sum()) < merging.overlap * inside:
            continue
        if label not in numbers:
            found.append(query)
        number = numbers.get(label, len(found))
        if label in stuff:
            numbers[label] = number
        segments[own] = number
    return Segments(segments, labels[found], scores[found].float())


def class_of_pixels(classes: Tensor, masks: Tensor) -> Tensor:
    """The class with the largest sum over the queries of class probability times mask probability: int64 (H, W)."""
    weights = classes.softmax(-1)[:, :-1].T
    rows = [torch.einsum("kq,qhw->khw", weights, part.sigmoid()).argmax(0) for part in masks.split(_ROWS, 1)]
    return torch.cat(rows)
