from __future__ import annotations

import pytest
import torch

from featalign.ops import class_margin, draw_uncertain, mask_margin


@pytest.mark.parametrize(("classes", "certainty"), [(3, class_margin), (1, mask_margin)])
def test_three_quarters_lie_where_the_margin_is_small(classes, certainty):
    """Left half certain, right half undecided: random points would be half and half."""
    torch.manual_seed(0)
    logits = torch.zeros(2, classes, 64, 128)
    logits[:, 0, :, :64] = 9.0
    points = draw_uncertain(logits, 32, certainty)
    assert points.shape == (2, 32, 2)
    assert points.min() >= 0 and points.max() < 1
    right = (points[..., 0] > 0.5).float().mean(1)
    assert (right >= 0.75).all() and (right < 1).all()


def test_margins():
    logits = torch.tensor([[[3.0, -1.0], [1.0, 4.0], [-2.0, 3.0]]])
    assert class_margin(logits).tolist() == [[2.0, 1.0]]
    assert class_margin(logits[:, :1]).tolist() == [[0.0, 0.0]]
    assert mask_margin(logits[:, :1]).tolist() == [[3.0, 1.0]]


def test_no_maps_and_single_points():
    assert draw_uncertain(torch.zeros(0, 1, 7, 7), 4, mask_margin).shape == (0, 4, 2)
    assert draw_uncertain(torch.zeros(2, 1, 7, 7), 1, mask_margin).shape == (2, 1, 2)


def test_no_gradient_passes_through():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    assert not draw_uncertain(logits, 8, class_margin).requires_grad
