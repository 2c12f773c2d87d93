"""Drawing a mask finer step by step, asking only where it is uncertain (PointRend, CVPR 2020, section 3.1, Fig. 4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Ask = Callable[[Tensor], Tensor]
"""Points of each mask (n, N, 2), (x, y) in [0, 1], to logits (n, N)."""


def subdivided(coarse: Tensor, ask: Ask, *, steps: int, points: int) -> Tensor:
    """Masks of logits (n, 1, h, w) drawn ``2 ** steps`` times as fine.

    Each step doubles the grid by bilinear interpolation and asks again at the ``points`` cells whose logits are nearest
    to 0, where the probability is 1/2; at every cell where there are not more.

    Args:
        coarse: where to begin.
        ask: the answer at any points.
        steps: how many times the grid is doubled.
        points: most that are asked of one mask in one step.
    """
    masks = coarse
    for step in range(1, steps + 1):
        height, width = coarse.shape[-2] << step, coarse.shape[-1] << step
        if step < steps and 4 * height * width <= points:
            continue  # the next grid is asked at every cell: what this one would say is not seen
        masks = F.interpolate(masks, (height, width), mode="bilinear", align_corners=False)
        logits = masks.flatten(1)
        cells = logits.abs().topk(min(points, height * width), dim=1, largest=False, sorted=False).indices
        answers = ask(cell_centres(cells, height, width)).to(logits.dtype)
        masks = logits.scatter(1, cells, answers).view_as(masks)
    return masks


def cell_centres(cells: Tensor, height: int, width: int) -> Tensor:
    """(x, y) in [0, 1] of cells (…), numbered by rows: (…, 2)."""
    size = torch.tensor([width, height], device=cells.device)
    return (torch.stack((cells % width, cells // width), -1) + 0.5) / size
