"""From overlapping objects and a class at each pixel to segments that do not overlap: things first, then stuff
(Panoptic Segmentation, CVPR 2019, section 7; Panoptic Feature Pyramid Networks, CVPR 2019, section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Segments(NamedTuple):
    """Segments of one image.

    ``segments``: int64 (H, W), numbered 1 … S, 0 for void. ``labels``: class ids from 0, int64 (S). ``scores``: float32
    (S).
    """

    segments: Tensor
    labels: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Merging:
    """What becomes a segment.

    ``score``: the least of an object. ``overlap``: an object of which surer ones hide a larger share is left out.
    ``stuff_share``: the least area of a class of stuff, as a share of the image: 4096 pixels of COCO's usual 640 x 480,
    as published, and as much of images of other sizes.
    """

    score: float = 0.5
    overlap: float = 0.5
    stuff_share: float = 4096 / (640 * 480)


def merge(
    masks: Tensor, labels: Tensor, scores: Tensor, classes: Tensor, certainty: Tensor, merging: Merging
) -> Segments:
    """Objects as of :func:`paint_things`, then stuff as of :func:`add_stuff`."""
    sure = scores >= merging.score
    found = paint_things(masks[sure], labels[sure], scores[sure], overlap=merging.overlap)
    return add_stuff(found, classes, certainty, area=merging.stuff_share * classes.numel())


def paint_things(masks: Tensor, labels: Tensor, scores: Tensor, *, overlap: float) -> Segments:
    """Objects, the surest first, each where none is yet.

    Args:
        masks: bool (N, H, W).
        labels: class ids from 0, int64 (N).
        scores: float (N).
        overlap: an object is left out if more than this share of it is taken; and if nothing is left.
    """
    segments = torch.zeros(masks.shape[1:], dtype=torch.int64, device=masks.device)
    kept: list[int] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        free = masks[index] & (segments == 0)
        area, left = int(masks[index].sum()), int(free.sum())
        if left and area - left <= overlap * area:
            kept.append(index)
            segments[free] = len(kept)
    return Segments(segments, labels[kept], scores[kept].float())


def add_stuff(found: Segments, classes: Tensor, certainty: Tensor, *, area: float) -> Segments:
    """One segment for each class where there is none yet.

    Args:
        found: segments that stay as they are.
        classes: the id of the class of stuff at each pixel, int64 (H, W); negative for none.
        certainty: how sure that is, float (H, W); its mean is the score of the segment.
        area: a class that has fewer pixels left is left out.
    """
    segments, labels, scores = found.segments.clone(), [found.labels], [found.scores]
    count = len(found.labels)
    left = classes.where(found.segments == 0, -1)
    for label in left[left >= 0].unique():
        region = left == label
        if int(region.sum()) >= area:
            count += 1
            segments[region] = count
            labels.append(label[None])
            scores.append(certainty[region].mean().float()[None])
    return Segments(segments, torch.cat(labels), torch.cat(scores))
