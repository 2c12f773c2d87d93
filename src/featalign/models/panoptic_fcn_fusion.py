"""From positions to kernels, each object and each class of stuff once (Panoptic FCN, CVPR 2021, section 3).

centres of P3 … P7 ─▶ peaks ─▶ kernels there ─▶ similar ones of one class become their mean ─▶ things
regions of P3 … P7 ─▶ classes ─▶ mean kernel of each region ─▶ those of one class become their mean ─▶ stuff
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Found(NamedTuple):
    """``kernels`` (N, C), ``channels`` int64 (N) and ``scores`` float32 (N) in [0, 1], the surest first."""

    kernels: Tensor
    channels: Tensor
    scores: Tensor


def peaks(centres: Tensor, kernels: Tensor, *, window: int, least: float, most: int) -> Found:
    """The objects of one image at one stage.

    A cell's score is its own and the mean of its surroundings, by halves; an object is where no neighbour has more.

    Args:
        centres: logits (T, h, w).
        kernels: (C, h, w).
        window: side of the surroundings in cells, odd.
        least: score.
        most: objects.
    """
    scores = centres.float().sigmoid()
    scores = (scores + F.avg_pool2d(scores, window, stride=1, padding=window // 2)) / 2
    scores = scores.where(F.max_pool2d(scores, 3, stride=1, padding=1) == scores, 0)
    best, index = scores.flatten().topk(min(most, scores.numel()))
    index = index[best > least]
    cells = scores.shape[1] * scores.shape[2]
    return Found(kernels.flatten(1)[:, index % cells].T, index // cells, best[best > least])


def region_kernels(regions: Tensor, kernels: Tensor, *, least: float) -> Found:
    """The classes of stuff of one image at one stage, and "a thing": each with the mean kernel of its cells.

    Args:
        regions: logits (1 + S, h, w); a cell is of the class that has most.
        kernels: (C, h, w).
        least: mean score of a region.
    """
    best, labels = regions.float().sigmoid().max(0)
    channels = labels.unique()
    share = (labels.flatten() == channels[:, None]).float()
    share = share / share.sum(1, keepdim=True)
    scores = share @ best.flatten()
    sure = scores > least
    return Found(share[sure].to(kernels.dtype) @ kernels.flatten(1).T, channels[sure], scores[sure])


def fuse_similar(found: Found, *, similarity: float) -> Found:
    """Kernels of one class at a cosine of at least ``similarity`` to the surest of them become one, their mean."""
    order = found.scores.argsort(descending=True, stable=True)
    kernels, channels, scores = (values[order] for values in found)
    unit = F.normalize(kernels.float(), dim=1)
    alike = ((unit @ unit.T >= similarity) & (channels[:, None] == channels)).cpu()
    alike.fill_diagonal_(True)
    free = torch.ones(len(kernels), dtype=torch.bool)
    heads, members = [], []
    for index in range(len(kernels)):
        if free[index]:
            heads.append(index)
            members.append(alike[index] & free)
            free &= ~alike[index]
    if not heads:
        return Found(kernels, channels, scores)
    share = torch.stack(members).to(kernels)
    return Found(share @ kernels / share.sum(1, keepdim=True), channels[heads], scores[heads])


def fuse_classes(found: Found) -> Found:
    """Kernels and scores of one class become their means; in the order of the channels."""
    channels = found.channels.unique()
    share = (found.channels == channels[:, None]).to(found.kernels)
    share = share / share.sum(1, keepdim=True)
    return Found(share @ found.kernels, channels, share.float() @ found.scores)


def joined(parts: Sequence[Found]) -> Found:
    """What was found at several stages."""
    kernels, channels, scores = (torch.cat(values) for values in zip(*parts, strict=True))
    return Found(kernels, channels, scores)
