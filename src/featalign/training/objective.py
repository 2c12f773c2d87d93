"""The loss of one batch: where the model is asked, and what its answers are compared with (IFA section 3.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from featalign.losses import cross_entropy, ohem_cross_entropy
from featalign.models import Segmentor
from featalign.training.recipe import LossRecipe

POINT_STRIDE = 4  # pixels per side of the cell that holds one query point: the pitch of the finest feature grid


@dataclass(frozen=True)
class Objective:
    """The loss of one batch and its parts; ``total`` carries the gradient."""

    total: Tensor
    main: Tensor
    auxiliary: Tensor | None


def asks_at_points(query: str, step: int) -> bool:
    """Whether iteration ``step`` queries points: never for "grid", always for "points", at odd steps for "mixed"."""
    return query == "points" or (query == "mixed" and step % 2 == 1)


def objective(
    model: Segmentor, images: Tensor, masks: Tensor, *, at_points: bool, loss: LossRecipe, ignore_index: int
) -> Objective:
    """The loss of one batch: OHEM on the main logits plus weighted cross-entropy on the auxiliary ones.

    On the grid the main logits are those of the finest feature grid, resized to the labels. A model that is only ever
    asked there never learns its finest level's position code (every offset is zero), so ``at_points`` asks at one
    random point of each cell of that grid instead, as many questions as the grid has cells.

    Args:
        model: the network, in training mode.
        images: normalized, (B, C, H, W).
        masks: class ids, (B, H, W); ``ignore_index`` counts nowhere.
        at_points: ask at random points rather than on the grid.
        loss: weights and thresholds.
        ignore_index: the label that counts nowhere.
    """
    features = model.encode(images)
    if at_points:
        points = jittered_points(masks.shape[0], masks.shape[1], masks.shape[2], device=images.device)
        logits, labels = model.query(features, points), labels_at(masks, points)
    else:
        logits, labels = model.decode(features, size=(masks.shape[1], masks.shape[2]), mode="resized"), masks
    main = _main_loss(logits, labels, loss=loss, ignore_index=ignore_index)
    auxiliary_logits = model.auxiliary_logits(features) if loss.auxiliary_weight > 0 else None
    if auxiliary_logits is None:
        return Objective(main, main.detach(), None)
    auxiliary = _auxiliary_loss(auxiliary_logits, masks, ignore_index=ignore_index)
    return Objective(main + loss.auxiliary_weight * auxiliary, main.detach(), auxiliary.detach())


def jittered_points(batch: int, height: int, width: int, *, device: torch.device | None = None) -> Tensor:
    """One uniformly random point in each 4x4-pixel cell of an image of ``height`` x ``width`` pixels.

    Returns:
        (B, ceil(height / 4), ceil(width / 4), 2): (x, y), where 0 and 1 are the outer edges of the image.
    """
    rows, columns = math.ceil(height / POINT_STRIDE), math.ceil(width / POINT_STRIDE)
    points = torch.rand(batch, rows, columns, 2, device=device)
    points[..., 0] += torch.arange(columns, device=device)
    points[..., 1] += torch.arange(rows, device=device)[:, None]
    return points / torch.tensor([columns, rows], device=device)


def labels_at(masks: Tensor, points: Tensor) -> Tensor:
    """The label of the pixel that each point lies in.

    Args:
        masks: (B, H, W).
        points: (B, h, w, 2), (x, y) in [0, 1]; the far edges 1 belong to the last pixel.

    Returns:
        (B, h, w).
    """
    height, width = masks.shape[1:]
    columns = (points[..., 0] * width).long().clamp(0, width - 1)
    rows = (points[..., 1] * height).long().clamp(0, height - 1)
    return masks.flatten(1).gather(1, (rows * width + columns).flatten(1)).view(rows.shape)


def _main_loss(logits: Tensor, labels: Tensor, *, loss: LossRecipe, ignore_index: int) -> Tensor:
    if not loss.ohem:
        return cross_entropy(logits, labels, ignore_index=ignore_index)
    kept = max(1, round(loss.keep * labels.numel()))  # 0 would switch the mining off
    return ohem_cross_entropy(logits, labels, threshold=loss.threshold, min_kept=kept, ignore_index=ignore_index)


def _auxiliary_loss(logits: Tensor, masks: Tensor, *, ignore_index: int) -> Tensor:
    resized = F.interpolate(logits.float(), size=masks.shape[1:], mode="bilinear", align_corners=False)
    return cross_entropy(resized, masks, ignore_index=ignore_index)
