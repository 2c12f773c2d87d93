"""Subdivision against asking every cell, and what it asks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.models.subdivision import cell_centres, subdivided


def disc(points: Tensor) -> Tensor:
    """Logits of a disc around the middle, positive inside."""
    return 8 * (0.3 - (points - 0.5).norm(dim=-1))


def everywhere(side: int) -> Tensor:
    return cell_centres(torch.arange(side * side), side, side)[None]


def test_centres_are_numbered_by_rows():
    points = cell_centres(torch.arange(6), 2, 3)
    expected = [[1 / 6, 0.25], [0.5, 0.25], [5 / 6, 0.25], [1 / 6, 0.75], [0.5, 0.75], [5 / 6, 0.75]]
    torch.testing.assert_close(points, torch.tensor(expected))


def test_all_points_asked_is_the_dense_answer():
    dense = disc(everywhere(28)).view(1, 1, 28, 28)
    found = subdivided(torch.randn(1, 1, 7, 7), disc, steps=2, points=28 * 28)
    assert torch.equal(found, dense)


def test_few_points_find_the_outline():
    coarse = disc(everywhere(7)).view(1, 1, 7, 7)
    dense = disc(everywhere(112)).view(1, 1, 112, 112)
    found = subdivided(coarse, disc, steps=4, points=28 * 28)
    resized = F.interpolate(coarse, (112, 112), mode="bilinear")
    wrong = [int(((mask > 0) != (dense > 0)).sum()) for mask in (found, resized)]
    assert wrong[0] == 0 < wrong[1]


def test_the_least_certain_cells_are_asked_and_no_others():
    coarse = torch.tensor([[[[4.0, 4.0], [-4.0, -4.0]]]])  # undecided between its two rows
    asked = []

    def ask(points: Tensor) -> Tensor:
        asked.append(points)
        return torch.full(points.shape[:2], 9.0)

    found = subdivided(coarse, ask, steps=1, points=8)
    assert sorted(set(asked[0][0, :, 1].tolist())) == [0.375, 0.625]
    assert torch.equal(found[0, 0, 1:3], torch.full((2, 4), 9.0))
    assert torch.equal(found[0, 0, ::3], torch.tensor([[4.0] * 4, [-4.0] * 4]))


def test_grids_that_the_next_one_covers_are_not_asked():
    counts = []

    def ask(points: Tensor) -> Tensor:
        counts.append(points.shape[1])
        return disc(points)

    masks = subdivided(torch.zeros(2, 1, 7, 7), ask, steps=5, points=28 * 28)
    assert masks.shape == (2, 1, 224, 224) and counts == [784] * 4


def test_no_masks():
    assert subdivided(torch.zeros(0, 1, 7, 7), disc, steps=2, points=16).shape == (0, 1, 28, 28)
