from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_maps import CLASSES, pair, small_pairs
from torch import Tensor

from featalign.metrics import InstanceIoU

Image = tuple[Tensor, Tensor, Tensor]


def loop_iou(images: list[Image], groups: list[set[int]], sizes: dict[int, Fraction]) -> list[float]:
    """iIoU of each group of classes, in fractions: one instance after the other."""
    found = []
    for group in groups:
        hits = truth = Fraction(0)
        false = 0
        for pred, target, numbers in images:
            rows = list(
                zip(pred.flatten().tolist(), target.flatten().tolist(), numbers.flatten().tolist(), strict=True)
            )
            for label, number in {(t, n) for _, t, n in rows if t in group and n > 0}:
                instance = [p for p, t, n in rows if (t, n) == (label, number)]
                hits += sizes[label] * Fraction(sum(p in group for p in instance), len(instance))
                truth += sizes[label]
            false += sum(p in group and t not in group and t != 255 for p, t, _ in rows)
        found.append(float(hits / (truth + false)) if truth else math.nan)
    return found


def mean_sizes(images: list[Image], labels: list[int]) -> dict[int, Fraction]:
    sizes = {}
    for label in labels:
        pixels = sum(int(((target == label) & (numbers > 0)).sum()) for _, target, numbers in images)
        instances = sum(len(numbers[(target == label) & (numbers > 0)].unique()) for _, target, numbers in images)
        sizes[label] = Fraction(pixels, max(1, instances))
    return sizes


@st.composite
def small_images(draw: st.DrawFn) -> Image:
    pred, target = draw(small_pairs())
    numbers = draw(arrays("int32", tuple(target.shape), elements=st.sampled_from([0, 1, 2, 26001])))
    return pred, target, torch.from_numpy(numbers)


@given(st.lists(small_images(), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_equals_a_naive_loop(images: list[Image]) -> None:
    given_sizes, of_split = InstanceIoU(CLASSES, (2, 1), mean_sizes=(7.5, 30)), InstanceIoU(CLASSES, (1, 2))
    for image in images:
        given_sizes.update(*image)
        of_split.update(*image)
    groups = [set(), {1}, {2}]
    expected = loop_iou(images, groups, {1: Fraction(30), 2: Fraction(15, 2)})
    assert given_sizes.scores().iou == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)
    expected = loop_iou(images, groups, mean_sizes(images, [1, 2]))
    assert of_split.scores().iou == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)


@given(st.lists(small_images(), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_categories_equal_a_naive_loop(images: list[Image]) -> None:
    metric = InstanceIoU(CLASSES, (0, 2), mean_sizes=(5, 9), categories=(1, 0, 1))
    mixed = InstanceIoU(CLASSES, (0,), mean_sizes=(5,), categories=(1, 0, 1))
    for image in images:
        metric.update(*image)
        mixed.update(*image)
    expected = loop_iou(images, [set(), {0, 2}], {0: Fraction(5), 2: Fraction(9)})
    assert metric.scores().category_iou == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)
    assert all(math.isnan(value) for value in mixed.scores().category_iou)  # class 2 has no instances


def test_a_small_instance_weighs_as_much_as_a_large_one() -> None:
    target = torch.ones(1, 100, dtype=torch.long)
    numbers = torch.tensor([[1] * 90 + [2] * 10])
    metric = InstanceIoU(2, (1,))
    metric.update((numbers == 1).long(), target, numbers)
    assert metric.scores().iou[1] == pytest.approx(0.5)


def test_pixels_of_no_instance_count_only_as_false_positives_of_others() -> None:
    target = torch.tensor([[1, 1, 1, 1, 0, 0]])
    numbers = torch.tensor([[5, 5, 0, 0, 0, 0]])
    metric = InstanceIoU(2, (1,), mean_sizes=(2,))
    metric.update(torch.tensor([[1, 1, 0, 0, 1, 0]]), target, numbers)
    assert metric.scores().iou[1] == pytest.approx(2 / 3)  # size 2, one false positive


def test_a_perfect_answer_scores_exactly_1() -> None:
    _, target = pair(30, 30)
    numbers = torch.arange(900).reshape(30, 30) // 7
    metric = InstanceIoU(CLASSES, range(CLASSES))
    metric.update(target.where(target != 255, 0), target, numbers)
    assert metric.scores().iou == [1.0] * CLASSES and metric.scores().miou == 1.0


def test_the_same_number_in_two_images_of_a_batch_is_two_instances() -> None:
    target = torch.ones(2, 1, 4, dtype=torch.long)
    metric = InstanceIoU(2, (1,))
    metric.update(target, target, torch.ones(2, 1, 4, dtype=torch.int32))
    assert metric.counts[:2].tolist() == [[0, 2], [0, 8]]


def test_large_counts_keep_their_precision() -> None:
    metric = InstanceIoU(2, (1,))
    target = torch.ones(1500, 1500, dtype=torch.uint8)
    pred = target.clone()
    pred[0, 0] = 0
    metric.update(pred, target, target)
    assert metric.scores().iou[1] == pytest.approx(1 - 1 / 2_250_000, abs=1e-12)


def test_wrong_input() -> None:
    metric = InstanceIoU(CLASSES, (1,))
    pred, target = pair(4, 5)
    with pytest.raises(ValueError, match=r"instances \(5, 4\)"):
        metric.update(pred, target, torch.zeros(5, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="from -1"):
        metric.update(pred, target, torch.full((4, 5), -1))
    with pytest.raises(ValueError, match="got instances of type"):
        metric.update(pred, target, torch.zeros(4, 5))
    assert not any(counts.any() for counts in metric.state().values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"instance_classes": (3,)}, "expected ids in 0 … 2"),
        ({"instance_classes": (1, 1)}, "once"),
        ({"instance_classes": (1,), "mean_sizes": (1.0, 2.0)}, "2 mean_sizes; expected 1"),
        ({"instance_classes": (1,), "categories": (0, 1)}, "each of 3 classes"),
    ],
)
def test_settings_that_do_not_belong_together(options: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InstanceIoU(CLASSES, **options)
