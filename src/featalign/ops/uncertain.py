"""Random points, more of them where an answer is uncertain (PointRend, CVPR 2020, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from featalign.ops.sampling import sample_at

OVERSAMPLE = 3
UNCERTAIN_SHARE = 0.75


def draw_uncertain(logits: Tensor, count: int, certainty: Callable[[Tensor], Tensor]) -> Tensor:
    """Random points of each map, three quarters of them the least certain of three times as many.

    Args:
        logits: (B, K, h, w); no gradient passes through.
        count: N.
        certainty: logits at points (B, K, n) to how certain each is (B, n), :func:`class_margin` or
            :func:`mask_margin`.

    Returns:
        (B, N, 2): (x, y) in [0, 1].
    """
    batch, device = logits.shape[0], logits.device
    chosen = round(UNCERTAIN_SHARE * count)
    candidates = torch.rand(batch, OVERSAMPLE * count, 2, device=device)
    margin = certainty(sample_at(logits.detach(), candidates))
    places = margin.topk(chosen, dim=1, largest=False).indices[..., None].expand(-1, -1, 2)
    others = torch.rand(batch, count - chosen, 2, device=device)
    return torch.cat((candidates.gather(1, places), others), 1)


def class_margin(logits: Tensor) -> Tensor:
    """Distance of the two largest logits: (B, K, n) to (B, n); 0 for a single class."""
    best = logits.topk(min(2, logits.shape[1]), dim=1).values
    return best[:, 0] - best[:, -1]


def mask_margin(logits: Tensor) -> Tensor:
    """Distance of a mask's logit from 0, where its probability is 1/2: (B, 1, n) to (B, n)."""
    return logits[:, 0].abs()
