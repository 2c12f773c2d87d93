"""Points where the answer is uncertain, to learn from besides the grid (PointRend, CVPR 2020, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from featalign.ops.sampling import sample_at

PIXELS_PER_POINT = 256
"""2048 points of a crop of 512 x 1024, as published."""
OVERSAMPLE = 3
UNCERTAIN_SHARE = 0.75


def uncertain_points(logits: Tensor) -> Tensor:
    """Random points of each image, three quarters of them the least certain of three times as many.

    How certain an answer is, is the distance of its two largest logits.

    Args:
        logits: (B, K, H, W) at every pixel of the labels; no gradient passes through.

    Returns:
        (B, 1, N, 2), N one per 256 pixels: (x, y) in [0, 1].
    """
    batch, classes, height, width = logits.shape
    count = max(1, height * width // PIXELS_PER_POINT)
    chosen = round(UNCERTAIN_SHARE * count)
    candidates = torch.rand(batch, OVERSAMPLE * count, 2, device=logits.device)
    best = sample_at(logits.detach(), candidates).topk(min(2, classes), dim=1).values
    margin = best[:, 0] - best[:, -1]
    places = margin.topk(chosen, dim=1, largest=False).indices[..., None].expand(-1, -1, 2)
    others = torch.rand(batch, count - chosen, 2, device=logits.device)
    return torch.cat((candidates.gather(1, places), others), 1)[:, None]
