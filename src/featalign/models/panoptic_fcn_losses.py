"""The losses of Panoptic FCN (CVPR 2021, section 3): positions by focal loss, masks by Dice loss over the kernels of
several positions of each object.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from featalign.models.panoptic_fcn_targets import SceneTarget, StageTarget

POSITIONS = 7  # of each object at a stage


def position_losses(
    centres: Sequence[Tensor], regions: Sequence[Tensor], scenes: Sequence[SceneTarget]
) -> tuple[Tensor, Tensor]:
    """Of things, the sum over cells by object; of stuff, the mean over cells, summed over classes, by image.

    Args:
        centres: logits of each stage, (B, T, h, w).
        regions: logits of each stage, (B, 1 + S, h, w).
        scenes: the B targets.
    """
    found = regions[0].new_zeros((), dtype=torch.float32)
    marked = found.clone()
    for stage, (centre, region) in enumerate(zip(centres, regions, strict=True)):
        targets = [scene.stages[stage] for scene in scenes]
        cost = _focal(centre, torch.stack([target.centres for target in targets]))
        found = found + (cost * torch.stack([target.counted for target in targets])).sum()
        marked = marked + _focal(region, torch.stack([target.regions for target in targets])).mean((2, 3)).sum()
    objects = sum(len(target.objects) for scene in scenes for target in scene.stages)
    return found / max(1, objects), marked / len(scenes)


def chosen_positions(centres: Tensor, target: StageTarget, channels: Tensor) -> tuple[Tensor, Tensor]:
    """The cells of each object that are surest to be its centre, and their shares of the weight.

    Args:
        centres: logits of one image at one stage, (T, h, w).
        target: of it; its n objects.
        channels: of the scene's objects, int64 (N).

    Returns:
        Cells, int64 (n, k), and weights that sum to 1 for each object, (n, k); k is 7, or all cells of a smaller stage.
    """
    sureness = centres[channels[target.objects]].float().sigmoid().where(target.near, 0)
    weights, cells = sureness.flatten(1).topk(min(POSITIONS, centres.shape[1] * centres.shape[2]))
    return cells, weights / weights.sum(1, keepdim=True).clamp(min=1e-8)


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - 2 sum(p t) / (sum(p^2) + sum(t^2)) over the last axis (V-Net, 2016)."""
    p = logits.float().sigmoid()
    return 1 - 2 * (p * truth).sum(-1) / ((p**2).sum(-1) + (truth**2).sum(-1)).clamp(min=1e-8)


def _focal(logits: Tensor, truth: Tensor) -> Tensor:
    return sigmoid_focal_loss(logits.float(), truth, alpha=0.25, gamma=2.0)
