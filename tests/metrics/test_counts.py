from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from label_maps import CLASSES, pair, small_pairs
from torch import Tensor

from featalign.metrics import (
    ConfusionMatrix,
    Scores,
    class_counts,
    class_iou,
    iou,
    mean_accuracy,
    mean_iou,
    merge_classes,
    per_image_counts,
    pixel_accuracy,
    scores,
)


def set_counts(pred: Tensor, target: Tensor, label: int) -> list[int]:
    valid = target != 255
    found, true = (pred == label) & valid, target == label
    return [int((found & true).sum()), int((found & ~true).sum()), int((~found & true).sum())]


@given(small_pairs())
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_the_sets_of_pixels(labels: tuple[Tensor, Tensor]) -> None:
    counts = per_image_counts(*labels, CLASSES)
    assert counts.dtype == torch.int64
    assert counts.T.tolist() == [set_counts(*labels, label) for label in range(CLASSES)]


@given(small_pairs())
@settings(max_examples=60, deadline=None)
def test_scores_of_counts_are_those_of_the_matrix(labels: tuple[Tensor, Tensor]) -> None:
    confusion = ConfusionMatrix(CLASSES)
    confusion.update(*labels)
    counts, expected = per_image_counts(*labels, CLASSES), confusion.scores()
    assert iou(counts).tolist() == pytest.approx(expected.iou, nan_ok=True)
    for score, value in (
        (mean_iou, expected.miou),
        (pixel_accuracy, expected.pixel_accuracy),
        (mean_accuracy, expected.mean_accuracy),
        (class_iou(1), expected.iou[1]),
    ):
        assert float(score(counts.numpy())) == pytest.approx(value, nan_ok=True)


def test_a_stack_of_counts_is_scored_set_by_set() -> None:
    stack = np.stack([per_image_counts(*pair(12, 13, seed=seed), CLASSES).numpy() for seed in range(4)])
    for score in (mean_iou, pixel_accuracy, mean_accuracy, class_iou(2)):
        assert score(stack).tolist() == pytest.approx([float(score(counts)) for counts in stack])
    assert mean_iou(stack.reshape(2, 2, 3, CLASSES)).shape == (2, 2)


def test_sums_of_counts_are_the_counts_of_the_split() -> None:
    confusion = ConfusionMatrix(CLASSES)
    total = torch.zeros(3, CLASSES, dtype=torch.int64)
    for seed in range(5):
        confusion.update(*pair(9, 14, seed=seed))
        total += per_image_counts(*pair(9, 14, seed=seed), CLASSES)
    assert torch.equal(total, class_counts(confusion.matrix))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got counts \(4, 5\); expected \(..., 3, K\)"):
        mean_iou(np.zeros((4, 5)))


def test_merged_classes_are_those_of_merged_labels() -> None:
    pred, target = pair(20, 21, classes=5)
    fine, coarse = ConfusionMatrix(5), ConfusionMatrix(3)
    fine.update(pred, target)
    table = torch.tensor([0, 2, 2, 1, 0])
    coarse.update(table[pred], torch.where(target == 255, 255, table[target.where(target != 255, 0)]))
    assert torch.equal(merge_classes(fine.matrix, table.tolist()), coarse.matrix)


@pytest.mark.parametrize("categories", [[0, 1], [0, 1, -1]])
def test_categories_that_do_not_fit_the_matrix(categories: list[int]) -> None:
    with pytest.raises(ValueError, match="for 3 classes; expected one number >= 0 each"):
        merge_classes(torch.zeros(3, 3, dtype=torch.int64), categories)


def test_scores_become_json_without_nan() -> None:
    assert Scores(miou=0.5, iou=[0.5, math.nan], pixel_accuracy=1.0, mean_accuracy=1.0, absent=[1]).to_json() == {
        "miou": 0.5,
        "iou": [0.5, None],
        "pixel_accuracy": 1.0,
        "mean_accuracy": 1.0,
        "absent": [1],
    }
    assert scores(torch.zeros(2, 2, dtype=torch.int64)).to_json()["miou"] is None
