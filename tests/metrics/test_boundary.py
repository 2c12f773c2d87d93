from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from featalign.metrics import ConfusionMatrix, boundary_band, boundary_target, scores


def make_target(height: int, width: int, *, seed: int = 0, void: float = 0.1) -> Tensor:
    """Blocks of four classes with void pixels between them."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(4, (height // 4 + 1, width // 4 + 1), generator=generator)
    target = blocks.repeat_interleave(4, 0).repeat_interleave(4, 1)[:height, :width].clone()
    target[torch.rand(height, width, generator=generator) < void] = 255
    return target


def loop_band(target: Tensor, width: int) -> Tensor:
    rows, columns = target.shape
    labels = target.tolist()
    band = torch.zeros(rows, columns, dtype=torch.bool)
    for y in range(rows):
        for x in range(columns):
            if labels[y][x] == 255:
                continue
            for v in range(max(0, y - width), min(rows, y + width + 1)):
                for u in range(max(0, x - width), min(columns, x + width + 1)):
                    if labels[v][u] not in (255, labels[y][x]):
                        band[y, x] = True
    return band


def scipy_band(target: Tensor, width: int) -> Tensor:
    """By the distance to the nearest pixel of another valid class, class by class."""
    labels = target.numpy()
    band = np.zeros(labels.shape, dtype=bool)
    for label in np.unique(labels[labels != 255]):
        others = (labels != 255) & (labels != label)
        if others.any():
            distance = ndimage.distance_transform_cdt(~others, metric="chessboard")
            band |= (labels == label) & (distance <= width)
    return torch.from_numpy(band)


@pytest.mark.parametrize("size", [(13, 17), (1, 9), (9, 1), (1, 1), (2, 30)])
@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("void", [0.0, 0.1, 0.8])
def test_equals_a_naive_loop_and_scipy(size: tuple[int, int], width: int, void: float) -> None:
    target = make_target(*size, seed=width, void=void)
    band = boundary_band(target, width)
    assert torch.equal(band, loop_band(target, width))
    assert torch.equal(band, scipy_band(target, width))


def test_width_1_takes_the_two_pixels_beside_an_edge() -> None:
    target = torch.tensor([[0, 0, 0, 1, 1, 1]])
    assert boundary_band(target, 1).tolist() == [[False, False, True, True, False, False]]
    assert boundary_target(target, 1).tolist() == [[255, 255, 0, 1, 255, 255]]


def test_void_makes_no_boundary() -> None:
    target = torch.tensor([[0, 0, 9, 0, 0], [9, 9, 9, 9, 9], [0, 0, 9, 9, 0]])
    assert not boundary_band(target, 3, ignore_index=9).any()
    assert not boundary_band(torch.full((4, 4), 255), 1).any()


def test_batches_types_and_other_ignore_indices() -> None:
    targets = torch.stack([make_target(12, 10, seed=seed) for seed in range(3)])
    band = torch.stack([boundary_band(target, 2) for target in targets])
    assert torch.equal(boundary_band(targets, 2), band)
    assert torch.equal(boundary_band(targets.to(torch.uint8), 2), band)
    assert torch.equal(boundary_band(targets.where(targets != 255, -1), 2, ignore_index=-1), band)
    assert boundary_band(targets[:0], 2).shape == (0, 12, 10)


def test_boundary_scores_see_only_the_band() -> None:
    target = torch.zeros(20, 20, dtype=torch.long)
    target[:, 10:] = 1
    pred = target.clone()
    pred[:, 10] = 0  # the edge is off by one pixel
    pred[:, 0] = 1  # an error far from it
    confusion = ConfusionMatrix(2)
    confusion.update(pred, boundary_target(target, 2))
    assert scores(confusion.matrix).iou == pytest.approx([2 / 3, 1 / 2])


def test_boundary_target_leaves_its_input_alone() -> None:
    target = make_target(8, 8)
    before = target.clone()
    boundary_target(target, 1)
    assert torch.equal(target, before)


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="width 0"):
        boundary_band(torch.zeros(3, 3, dtype=torch.long), 0)
    with pytest.raises(ValueError, match=r"target \(3,\)"):
        boundary_band(torch.zeros(3, dtype=torch.long), 1)
