from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from label_maps import CLASSES, pair, small_pairs
from scipy import ndimage
from torch import Tensor

from featalign.metrics import BoundaryIoU, boundary_iou_counts


def eroded_counts(pred: Tensor, target: Tensor, width: int) -> list[list[int]]:
    """As the paper's code: a mask minus its erosion, with a frame of background around the image. Knows no void."""
    rows = []
    for label in range(CLASSES):
        boundaries = []
        for mask in (pred.numpy() == label, target.numpy() == label):
            eroded = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=0)
            boundaries.append(mask & ~eroded)
        found, true = boundaries
        rows.append([int((found & true).sum()), int((found & ~true).sum()), int((true & ~found).sum())])
    return np.array(rows).T.tolist()


def loop_counts(pred: Tensor, target: Tensor, width: int) -> list[list[int]]:
    """With void: a pixel is on its mask's boundary if some pixel nearby is of another class or outside the image."""
    pred = pred.where(target != 255, 255)
    rows, columns = target.shape

    def boundary(labels: list[list[int]], label: int) -> set[tuple[int, int]]:
        def ends(y: int, x: int) -> bool:
            inside = 0 <= y < rows and 0 <= x < columns
            return not inside or labels[y][x] not in (label, 255)

        return {
            (y, x)
            for y in range(rows)
            for x in range(columns)
            if labels[y][x] == label
            and any(ends(v, u) for v in range(y - width, y + width + 1) for u in range(x - width, x + width + 1))
        }

    counts = []
    for label in range(CLASSES):
        found, true = boundary(pred.tolist(), label), boundary(target.tolist(), label)
        counts.append([len(found & true), len(found - true), len(true - found)])
    return np.array(counts).T.tolist()


@pytest.mark.parametrize("width", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [(17, 23), (5, 40), (1, 8)])
def test_equals_erosion_where_nothing_is_void(width: int, size: tuple[int, int]) -> None:
    pred, target = pair(*size, seed=width, void=0)
    assert boundary_iou_counts(pred, target, CLASSES, width=width).tolist() == eroded_counts(pred, target, width)


@given(small_pairs(), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_equals_a_naive_loop_with_void(labels: tuple[Tensor, Tensor], width: int) -> None:
    assert boundary_iou_counts(*labels, CLASSES, width=width).tolist() == loop_counts(*labels, width)


def test_width_follows_the_diagonal() -> None:
    pred, target = pair(120, 160)  # diagonal 200
    assert torch.equal(boundary_iou_counts(pred, target, CLASSES), boundary_iou_counts(pred, target, CLASSES, width=4))
    small = pair(6, 7)
    assert torch.equal(boundary_iou_counts(*small, CLASSES), boundary_iou_counts(*small, CLASSES, width=1))


def test_scores_of_a_split() -> None:
    metric = BoundaryIoU(CLASSES + 1, width=2)
    pairs = [pair(19, 25, seed=seed) for seed in range(3)]
    for labels in pairs:
        metric.update(*labels)
    batched = BoundaryIoU(CLASSES + 1, width=2)
    batched.update(*(torch.stack(maps) for maps in zip(*pairs, strict=True)))
    assert torch.equal(metric.counts, batched.counts)
    found = metric.scores()
    sums = np.sum([loop_counts(*labels, 2) for labels in pairs], axis=0)
    expected = (sums[0] / sums.sum(0)).tolist()
    assert found.iou == pytest.approx([*expected, math.nan], nan_ok=True)
    assert found.miou == pytest.approx(np.mean(expected))
    assert found.absent == [CLASSES]


def test_a_perfect_answer_scores_1() -> None:
    _, target = pair(20, 30)
    metric = BoundaryIoU(CLASSES)
    metric.update(target.where(target != 255, 0), target)
    assert metric.scores().iou == [1.0] * CLASSES


def test_all_void_and_wrong_input() -> None:
    metric = BoundaryIoU(CLASSES)
    metric.update(torch.zeros(4, 5, dtype=torch.long), torch.full((4, 5), 255))
    assert math.isnan(metric.scores().miou)
    with pytest.raises(ValueError, match="width 0"):
        boundary_iou_counts(*pair(4, 4), CLASSES, width=0)
    with pytest.raises(ValueError, match=r"labels \(4,\)"):
        metric.update(torch.zeros(4, dtype=torch.long), torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"labels \(0, 4\); expected maps of at least one pixel"):
        metric.update(torch.zeros(0, 4, dtype=torch.long), torch.zeros(0, 4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"pred has 20 valid pixels outside 0 … 2 \(ids \[7\]\)"):
        metric.update(torch.full((4, 5), 7), torch.zeros(4, 5, dtype=torch.long))
