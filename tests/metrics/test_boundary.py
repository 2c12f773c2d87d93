from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from featalign.metrics import (
    BoundaryBands,
    ConfusionMatrix,
    boundary_band,
    boundary_target,
    boundary_targets,
    scores,
)


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


@pytest.mark.parametrize("size", [(13, 17), (1, 9), (40, 3)])
@pytest.mark.parametrize("widths", [(3, 5, 8, 12), (5, 1, 2, 5), (4,), ()])
def test_many_widths_are_those_of_one_by_one(size: tuple[int, int], widths: tuple[int, ...]) -> None:
    target = make_target(*size)
    for labels in (target, target.to(torch.uint8), target.where(target == 255, target * 1000)):
        targets = boundary_targets(labels, widths)
        assert list(targets) == list(dict.fromkeys(widths))
        for width, found in targets.items():
            assert torch.equal(found, labels.where(loop_band(target, width), 255))


def test_negative_ids_and_ids_beyond_a_byte() -> None:
    target = torch.tensor([[-3, -3, 70_000, 70_000, 255, 300]])
    assert boundary_band(target, 1).tolist() == [[False, True, True, False, False, False]]
    assert boundary_band(target, 2).tolist() == [[True, True, True, True, False, True]]


def test_band_scores_are_those_of_masked_targets() -> None:
    bands = BoundaryBands(4, (1, 3))
    expected = {width: ConfusionMatrix(4) for width in (1, 3)}
    for seed in range(3):
        target = make_target(14, 15, seed=seed)
        pred = make_target(14, 15, seed=seed + 9, void=0)
        bands.update(pred, target.numpy())
        for width, confusion in expected.items():
            confusion.update(pred, target.where(scipy_band(target, width), 255))
    found = bands.scores()
    assert found == {width: confusion.scores() for width, confusion in expected.items()}
    assert found[1].pixel_accuracy != found[3].pixel_accuracy


def test_bands_refuse_ids_out_of_range_and_count_nothing() -> None:
    bands = BoundaryBands(2)
    with pytest.raises(ValueError, match="pred has"):
        bands.update(torch.full((1, 4), 7), torch.tensor([[0, 0, 1, 1]]))
    assert not bands.matrices.any()


def test_wrong_input() -> None:
    with pytest.raises(ValueError, match="width 0"):
        boundary_band(torch.zeros(3, 3, dtype=torch.long), 0)
    with pytest.raises(ValueError, match=r"target \(3,\)"):
        boundary_band(torch.zeros(3, dtype=torch.long), 1)
