from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from label_maps import CLASSES, pair, small_pairs
from scipy import ndimage
from torch import Tensor

from featalign.metrics import BoundaryFScore, boundary_f, boundary_f_counts


def contour(labels: list[list[int]], label: int) -> list[tuple[int, int]]:
    rows, columns = len(labels), len(labels[0])
    return [
        (y, x)
        for y in range(rows)
        for x in range(columns)
        if labels[y][x] == label
        and any(
            labels[v][u] not in (label, 255)
            for v in range(max(0, y - 1), min(rows, y + 2))
            for u in range(max(0, x - 1), min(columns, x + 2))
        )
    ]


def loop_counts(pred: Tensor, target: Tensor, tolerance: float, classes: int = CLASSES) -> list[list[int]]:
    """Every boundary pixel against every other one."""
    pred = pred.where(target != 255, 255)
    columns = []
    for label in range(classes):
        found, true = contour(pred.tolist(), label), contour(target.tolist(), label)
        near = [
            sum(any(math.dist(pixel, other) <= tolerance for other in others) for pixel in pixels)
            for pixels, others in ((found, true), (true, found))
        ]
        columns.append([near[0], len(found), near[1], len(true)])
    return np.array(columns).T.tolist()


def fraction_f(near: int, predicted: int, found: int, true: int) -> Fraction:
    if near == 0:
        return Fraction(0)
    precision, recall = Fraction(near, predicted), Fraction(found, true)
    return 2 * precision * recall / (precision + recall)


@given(small_pairs(), st.sampled_from([0, 1, 1.5, 2, 3.7, 20]))
@settings(max_examples=60, deadline=None)
def test_counts_equal_a_naive_loop(labels: tuple[Tensor, Tensor], tolerance: float) -> None:
    assert boundary_f_counts(*labels, CLASSES, tolerance=tolerance).tolist() == loop_counts(*labels, tolerance)


def test_counts_equal_the_euclidean_distance_transform() -> None:
    pred, target = pair(60, 70, classes=40, seed=4)  # more classes than one map of bits holds
    counts = boundary_f_counts(pred, target, 40, tolerance=3.2)
    pred = pred.where(target != 255, 255)
    for label in range(40):
        masks = [np.zeros(target.shape, bool) for _ in range(2)]
        for mask, labels in zip(masks, (pred, target), strict=True):
            for y, x in contour(labels.tolist(), label):
                mask[y, x] = True
        found, true = masks
        near = [
            int((ndimage.distance_transform_edt(~b)[a] <= 3.2).sum()) if b.any() else 0
            for a, b in ((found, true), (true, found))
        ]
        assert counts[:, label].tolist() == [near[0], found.sum(), near[1], true.sum()]


def test_a_shift_within_the_tolerance_is_forgiven() -> None:
    target = torch.zeros(20, 30, dtype=torch.long)
    target[:, 15:] = 1
    pred = target.roll(3, dims=1)
    pred[:, :3] = 0
    for tolerance, expected in ((2.9, 0.0), (3.0, 1.0)):
        metric = BoundaryFScore(2, tolerance=tolerance)
        metric.update(pred, target)
        assert metric.scores().f == [expected] * 2


def test_scores_of_a_split() -> None:
    classes = CLASSES + 1
    metric = BoundaryFScore(classes, tolerance=1.5)
    pairs = [pair(15, 18, seed=seed) for seed in range(3)]
    pairs.append((pairs[0][0], torch.full((15, 18), 255)))  # scores nothing
    for labels in pairs:
        metric.update(*labels)
    counts = np.array([loop_counts(*labels, 1.5, classes) for labels in pairs])
    total = counts.sum(0)
    found = metric.scores()
    f = [float(fraction_f(*(int(n) for n in total[:, label]))) for label in range(CLASSES)]
    assert found.f == pytest.approx([*f, math.nan], nan_ok=True)
    assert found.mean == pytest.approx(np.mean(f))
    assert found.precision[:CLASSES] == pytest.approx((total[0] / np.maximum(total[1], 1))[:CLASSES])
    assert found.recall[:CLASSES] == pytest.approx((total[2] / np.maximum(total[3], 1))[:CLASSES])
    per_image = []
    for label in range(CLASSES):
        seen = [[int(n) for n in one[:, label]] for one in counts if one[1, label] + one[3, label]]
        per_image.append(float(sum(fraction_f(*one) for one in seen) / len(seen)))
    assert found.f_per_image[:CLASSES] == pytest.approx(per_image, rel=1e-11)
    assert found.mean_per_image == pytest.approx(np.mean(per_image), rel=1e-11)
    assert boundary_f(metric.counts).tolist() == pytest.approx(found.f, nan_ok=True)


def test_a_class_that_is_only_predicted_has_no_score_but_a_missed_one_has_0() -> None:
    target = torch.zeros(10, 10, dtype=torch.long)
    target[:5] = 1
    pred = torch.zeros(10, 10, dtype=torch.long)
    pred[:, 5:] = 2
    metric = BoundaryFScore(3, tolerance=1)
    metric.update(pred, target)
    found = metric.scores()
    assert found.f[1] == 0 and found.f_per_image[1] == 0
    assert math.isnan(found.f[2]) and math.isnan(found.f_per_image[2])
    assert math.isnan(found.precision[1]) and found.recall[1] == 0
    assert found.to_json()["f"][2] is None


def test_the_tolerance_follows_the_diagonal() -> None:
    pred, target = pair(120, 160)  # diagonal 200
    expected = boundary_f_counts(pred, target, CLASSES, tolerance=1.5)
    assert torch.equal(boundary_f_counts(pred, target, CLASSES), expected)


def test_batches_are_counted_image_by_image() -> None:
    pairs = [pair(12, 14, seed=seed) for seed in range(3)]
    single, batched = BoundaryFScore(CLASSES), BoundaryFScore(CLASSES)
    for labels in pairs:
        single.update(*labels)
    batched.update(*(torch.stack(maps) for maps in zip(*pairs, strict=True)))
    assert all(torch.equal(counts, batched.state()[name]) for name, counts in single.state().items())


def test_wrong_input() -> None:
    pred, target = pair(5, 6)
    with pytest.raises(ValueError, match="tolerance -1"):
        boundary_f_counts(pred, target, CLASSES, tolerance=-1)
    with pytest.raises(ValueError, match=r"labels \(0, 6\); expected maps of at least one pixel"):
        BoundaryFScore(CLASSES).update(pred[:0], target[:0])
    with pytest.raises(ValueError, match="expected one image"):
        boundary_f_counts(torch.stack([pred, pred]), torch.stack([target, target]), CLASSES)
