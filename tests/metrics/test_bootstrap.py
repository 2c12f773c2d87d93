from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from label_maps import CLASSES, pair

from featalign.metrics import (
    boundary_f,
    boundary_f_counts,
    boundary_target,
    class_iou,
    iou,
    mean_iou,
    paired_bootstrap,
    paired_bootstraps,
    per_image_counts,
    pixel_accuracy,
)
from featalign.metrics.counts import Values


def made_counts(images: int, *, right: float, seed: int = 0) -> np.ndarray:
    """Two classes of about 1000 pixels in each image; the share ``right`` of them is right, more or less."""
    rng = np.random.default_rng(seed)
    shares = np.clip(right + rng.normal(0, 0.05, (images, 2)), 0, 1)
    hits = rng.binomial(1000, shares)
    missed = 1000 - hits
    return np.stack((hits, missed[:, ::-1], missed), axis=1)


def looped(a: np.ndarray, b: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Image by image, drawn by indices."""
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(resamples):
        drawn = rng.integers(len(a), size=len(a))
        scores = []
        for counts in (a, b):
            hits, false, missed = sum(counts[index] for index in drawn)
            scores.append(np.mean(hits / (hits + false + missed)))
        differences.append(scores[0] - scores[1])
    return np.array(differences)


def test_agrees_with_a_loop_that_draws_indices() -> None:
    a, b = made_counts(40, right=0.8), made_counts(40, right=0.78, seed=1)
    found = paired_bootstrap(a, b, resamples=4000)
    differences = looped(a, b, 4000, seed=5)
    low, high = np.quantile(differences, [0.025, 0.975])
    spread = differences.std()
    assert found.low == pytest.approx(low, abs=0.1 * spread)
    assert found.high == pytest.approx(high, abs=0.1 * spread)
    assert found.mean == pytest.approx(differences.mean(), abs=0.05 * spread)
    assert found.difference == pytest.approx(float(mean_iou(a.sum(0)) - mean_iou(b.sum(0))))
    assert found.images == 40 and found.low < found.difference < found.high


def test_is_the_spread_of_the_mean_for_images_of_one_size() -> None:
    """Pixel accuracy of equal images is a mean, whose standard error is known."""
    a, b = made_counts(200, right=0.8), made_counts(200, right=0.8, seed=1)
    per_image = (a[:, 0].sum(1) - b[:, 0].sum(1)) / 2000
    error = per_image.std() / math.sqrt(200)
    found = paired_bootstrap(a, b, score=pixel_accuracy, resamples=4000)
    assert found.low == pytest.approx(per_image.mean() - 1.96 * error, abs=0.2 * error)
    assert found.high == pytest.approx(per_image.mean() + 1.96 * error, abs=0.2 * error)


def test_covers_a_difference_of_nothing_19_times_out_of_20() -> None:
    covered = 0
    for seed in range(200):
        a, b = made_counts(30, right=0.7, seed=2 * seed), made_counts(30, right=0.7, seed=2 * seed + 1)
        covered += not paired_bootstrap(a, b, resamples=300).decided
    assert 174 <= covered <= 200  # 190 expected; percentile intervals of 30 images are a little short


def test_pairs_see_what_lies_below_the_noise_of_the_images() -> None:
    rng = np.random.default_rng(0)
    a = made_counts(50, right=0.8)
    b = a.copy()
    b[:, 0] -= 5  # 5 pixels of each class worse in every image
    b[:, 1:] += 5
    assert paired_bootstrap(a, b).low > 0
    assert not paired_bootstrap(a, b[rng.permutation(50)]).decided


def test_one_seed_gives_one_interval_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = made_counts(20, right=0.8), made_counts(20, right=0.7)
    found = paired_bootstrap(a, b, seed=3)
    assert found == paired_bootstrap(torch.from_numpy(a), torch.from_numpy(b), seed=3)
    assert found != paired_bootstrap(a, b, seed=4)
    monkeypatch.setattr("featalign.metrics.bootstrap.BLOCK", 70)
    assert found == paired_bootstrap(a, b, seed=3)


def test_equal_runs_differ_by_nothing() -> None:
    a = made_counts(10, right=0.5)
    found = paired_bootstrap(a, a)
    assert (found.difference, found.low, found.high, found.decided) == (0, 0, 0, False)


def test_more_confidence_is_a_wider_interval() -> None:
    a, b = made_counts(20, right=0.8), made_counts(20, right=0.7)
    wide, narrow = paired_bootstrap(a, b, confidence=0.99), paired_bootstrap(a, b, confidence=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_any_score_of_real_counts() -> None:
    pairs = [pair(20, 24, seed=seed) for seed in range(8)]
    scores: list[tuple[list[np.ndarray], object]] = [
        ([per_image_counts(*labels, CLASSES).numpy() for labels in pairs], class_iou(1)),
        ([per_image_counts(p, boundary_target(t, 2), CLASSES).numpy() for p, t in pairs], mean_iou),
        (
            [boundary_f_counts(*labels, CLASSES, tolerance=1).numpy() for labels in pairs],
            lambda counts: boundary_f(counts).mean(-1),
        ),
    ]
    for counts, score in scores:
        worse = [one.copy() for one in counts]
        for one in worse:
            one[0] //= 2
        found = paired_bootstrap(np.stack(counts), np.stack(worse), score=score)
        assert found.decided and found.low <= found.difference <= found.high


def test_resamples_without_the_class_are_left_out() -> None:
    a, b = made_counts(6, right=0.8), made_counts(6, right=0.7)
    a[1:, :, 1] = b[1:, :, 1] = 0  # one image of six has class 1
    found = paired_bootstrap(a, b, score=class_iou(1))
    assert found.low == pytest.approx(found.high) == pytest.approx(found.difference)
    a[0, :, 1] = b[0, :, 1] = 0
    assert paired_bootstrap(a, b, score=class_iou(1)).to_json()["low"] is None


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((4, 3, 2), (5, 3, 2)), {}, r"\(4, 3, 2\) and \(5, 3, 2\)"),
        (((0, 3, 2), (0, 3, 2)), {}, "N >= 1"),
        (((4, 3, 2), (4, 3, 2)), {"resamples": 0}, "resamples=0"),
        (((4, 3, 2), (4, 3, 2)), {"confidence": 95}, "confidence=95"),
    ],
)
def test_wrong_input(shapes: tuple[tuple[int, ...], ...], options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(*(np.ones(shape) for shape in shapes), **options)


def test_scores_may_be_ones_own() -> None:
    def first_hits(counts: Values) -> Values:
        return counts[..., 0, 0]

    a, b = made_counts(5, right=0.8), made_counts(5, right=0.7)
    assert paired_bootstrap(a, b, score=first_hits).difference == (a - b)[:, 0, 0].sum()


def test_several_scores_at_once_are_those_of_each():
    a, b = made_counts(40, right=0.8), made_counts(40, right=0.78, seed=1)
    found = paired_bootstraps(a, b, scores=iou, resamples=300, seed=2)
    assert found == [paired_bootstrap(a, b, score=class_iou(i), resamples=300, seed=2) for i in range(2)]
