"""PQ against its definition in fractions, written as loops over segments, and against panopticapi's stored results."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from featalign.metrics import PanopticQuality, Quality

Case = tuple[Tensor, dict[int, int], Tensor, dict[int, int], set[int]]
HALF = Fraction(1, 2)


def naive(images: list[Case]) -> dict[int, tuple[Fraction, Fraction, Fraction]]:
    """PQ, SQ, RQ of each class that occurs: pairs of segments compared as sets of pixels."""
    sums: dict[int, list[Fraction]] = defaultdict(lambda: [Fraction(0)] * 3)
    for pred, pred_classes, target, target_classes, crowds in images:
        void = target == 0
        taken: set[int] = set()
        for true, label in target_classes.items():
            if true in crowds:
                continue
            hits = []
            for found, other in pred_classes.items():
                both = int(((target == true) & (pred == found)).sum())
                union = int((((target == true) | (pred == found)) & ~(void & (pred == found))).sum())
                if other == label and Fraction(both, union) > HALF:
                    hits.append((found, Fraction(both, union)))
            if hits:
                ((found, iou),) = hits
                taken.add(found)
                add(sums[label], iou, Fraction(1), Fraction(1))
            else:
                add(sums[label], Fraction(0), Fraction(0), HALF)
        for found, label in pred_classes.items():
            area = pred == found
            groups = [true for true in crowds if target_classes[true] == label]
            excused = area & (void | sum((target == true for true in groups), start=torch.zeros_like(void)).bool())
            if found not in taken and Fraction(int(excused.sum()), int(area.sum())) <= HALF:
                add(sums[label], Fraction(0), Fraction(0), HALF)
    return {
        label: (iou / weight, iou / hits if hits else Fraction(0), hits / weight)
        for label, (iou, hits, weight) in sums.items()
    }


def add(sums: list[Fraction], *amounts: Fraction) -> None:
    sums[:] = [old + new for old, new in zip(sums, amounts, strict=True)]


def made_image(seed: int) -> Case:
    """Rectangles over each other with void between; the prediction is the truth, shifted and partly renamed."""
    rng = np.random.default_rng(seed)
    target = np.zeros((24, 30), np.int64)
    for number in range(1, 9):
        top, left = rng.integers(0, 18), rng.integers(0, 22)
        target[top : top + rng.integers(2, 12), left : left + rng.integers(2, 14)] = 1000 * number
    pred = np.roll(target, rng.integers(-2, 3, 2), (0, 1)) // 10
    pred[rng.random(pred.shape) < 0.1] = 7
    truth = {int(number): int(rng.integers(4)) for number in np.unique(target) if number}
    found = {int(n): truth.get(10 * int(n), 3) if rng.random() < 0.8 else 0 for n in np.unique(pred) if n}
    crowds = {number for number in truth if rng.random() < 0.25}
    return torch.from_numpy(pred), found, torch.from_numpy(target), truth, crowds


def test_equals_the_definition():
    images = [made_image(seed) for seed in range(12)]
    quality = PanopticQuality(5, things=[0, 1])
    for *maps, crowds in images:
        quality.update(*maps, crowds=crowds)
    expected = naive(images)
    assert sorted(expected) == [0, 1, 2, 3]
    assert sum(iou > 0 for iou, _, _ in expected.values()) >= 3
    scores = quality.scores()
    for label, values in expected.items():
        ours = scores.classes[label]
        assert (ours.pq, ours.sq, ours.rq) == pytest.approx([float(value) for value in values], abs=1e-11)
    assert all(map(math.isnan, vars(scores.classes[4]).values()))
    for ours, labels in ((scores.all, (0, 1, 2, 3)), (scores.things, (0, 1)), (scores.stuff, (2, 3))):
        assert ours.pq == pytest.approx(float(sum(expected[label][0] for label in labels)) / len(labels), abs=1e-11)


def test_parts_of_a_split_add_up():
    images = [made_image(seed) for seed in range(6)]
    whole, first, second = (PanopticQuality(4, things=[1]) for _ in range(3))
    for index, (*maps, crowds) in enumerate(images):
        whole.update(*maps, crowds=crowds)
        (first if index % 2 else second).update(*maps, crowds=crowds)
    assert (first + second).scores() == whole.scores()
    with pytest.raises(ValueError, match="things"):
        first + PanopticQuality(4, things=[2])


def test_half_is_no_match_and_half_on_void_is_no_excuse():
    target = torch.tensor([[1, 1, 1, 0]])
    quality = PanopticQuality(1, things=[0])
    quality.update(torch.tensor([[0, 0, 2, 2]]), {2: 0}, target, {1: 0})  # IoU 1/3; half of it on void
    assert [int(getattr(quality, name)) for name in quality.COUNTS] == [0, 1, 1, 0]
    quality.update(torch.tensor([[0, 2, 0, 2]]), {2: 0}, torch.tensor([[0, 1, 1, 0]]), {1: 0})  # IoU 1/2
    assert int(quality.matched) == 0
    assert quality.scores().all == Quality(0.0, 0.0, 0.0)


def test_nothing_predicted_and_nothing_true():
    empty = torch.zeros(3, 4, dtype=torch.int64)
    quality = PanopticQuality(2, things=[0])
    quality.update(empty, {}, empty, {})
    assert math.isnan(quality.scores().all.pq)
    assert quality.scores().to_json()["all"] == {"pq": None, "sq": None, "rq": None}
    quality.update(empty, {}, empty + 5, {5: 1})
    assert quality.scores().stuff == Quality(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("pred", "classes", "message"),
    [
        ([[1, 2]], {1: 0}, r"pred: segments \[2\] have a class or pixels but not both"),
        ([[1, 1]], {1: 0, 2: 0}, r"pred: segments \[2\]"),
        ([[0, 1]], {0: 0, 1: 0}, r"pred: segments \[0\]"),
        ([[1, 1]], {1: 2}, r"pred: got classes \[2\]; expected ids in 0 … 1"),
        ([[1, 1, 1]], {1: 0}, "expected equal shapes"),
    ],
)
def test_wrong_segments_are_refused(pred, classes, message):
    quality = PanopticQuality(2, things=[])
    with pytest.raises(ValueError, match=message):
        quality.update(torch.tensor(pred), classes, torch.tensor([[3, 3]]), {3: 1})
    with pytest.raises(ValueError, match=r"crowds: got \[7\], which are no segments of the target"):
        quality.update(torch.tensor([[1, 1]]), {1: 0}, torch.tensor([[3, 3]]), {3: 1}, crowds=[3, 7])
    assert not quality.missed.any()
    with pytest.raises(ValueError, match=r"got things \[2\]"):
        PanopticQuality(2, things=[2])


@pytest.mark.golden
def test_equals_panopticapi(golden_dir: Path):
    folder = golden_dir / "metric_panoptic_pq"
    if not folder.is_dir():
        pytest.skip(f"{golden_dir} holds no metric_panoptic_pq")
    meta = json.loads((folder / "meta.json").read_text())
    for case in meta["cases"]:
        truth, found = (json.loads((folder / case["case"] / f"{side}.json").read_text()) for side in ("gt", "pred"))
        places = {row["id"]: i for i, row in enumerate(truth["categories"])}
        quality = PanopticQuality(len(places), [places[row["id"]] for row in truth["categories"] if row["isthing"]])
        answers = {row["image_id"]: row for row in found["annotations"]}
        for row in truth["annotations"]:
            answer = answers[row["image_id"]]
            crowds = {segment["id"] for segment in row["segments_info"] if segment["iscrowd"]}
            pred = segments(folder / case["case"] / "pred", answer, places)
            quality.update(*pred, *segments(folder / case["case"] / "gt", row, places), crowds=crowds)
        scores = quality.scores()
        for name, ours in (("All", scores.all), ("Things", scores.things), ("Stuff", scores.stuff)):
            compare(ours, case["results"][name], meta["tolerance"])
        for category, place in places.items():
            expected = case["results"]["per_class"][str(category)]
            if math.isnan(scores.classes[place].pq):  # there a class without any segment is listed with zeros
                assert set(expected.values()) == {0.0}
            else:
                compare(scores.classes[place], expected, meta["tolerance"])


def segments(folder: Path, row: Mapping[str, Any], places: Mapping[int, int]) -> tuple[Tensor, dict[int, int]]:
    rgb = np.asarray(Image.open(folder / row["file_name"]), np.int64)
    ids = torch.from_numpy(rgb @ np.array([1, 256, 65536]))
    return ids, {segment["id"]: places[segment["category_id"]] for segment in row["segments_info"]}


def compare(ours: Quality, expected: Mapping[str, float], tolerance: Mapping[str, float]) -> None:
    for name in ("pq", "sq", "rq"):
        assert getattr(ours, name) == pytest.approx(expected[name], rel=tolerance["rtol"], abs=tolerance["atol"]), name
