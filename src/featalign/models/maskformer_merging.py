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

    ``score``: the least probability of a query's class. ``overlap``: the least share of a query's mask that is its own
    in the end.
    """

    score: float = 0.8
    overlap: float = 0.8


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
        inside = masks[query] >= 0.5
        own = inside & (owner == query)
        area = int(own.sum())
        if not area or area < merging.overlap * int(inside.sum()):
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
