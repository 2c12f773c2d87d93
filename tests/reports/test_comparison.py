"""Two runs side by side: differences, intervals, what may be claimed, and the regions that one resolves."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from report_data import IMAGES, NAMES, PATCH, Parsed, assert_self_contained, draw_data, scored

from featalign.errors import DataError
from featalign.metrics import FEW_IMAGES, class_iou, mean_iou, paired_bootstrap
from featalign.reports import Compared, compare, comparison_report, examples, resolved_regions
from featalign.reports.comparison_report import enlarged
from featalign.spec import Classes

OTHER = (4, 44, 16, 56)
"""What the second run does not see, in every image."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runs(data):
    return scored(data, PATCH), scored(data, OTHER)


@pytest.fixture(scope="module")
def found(runs):
    return compare(runs[0][0], runs[1][0], resamples=300)


def test_scores_are_those_of_the_bootstrap(found, runs):
    a, b = runs[0][0], runs[1][0]
    first = found.scores[0]
    assert (first.name, first.a, first.b) == ("mIoU", a.scores.miou, b.scores.miou)
    assert first.interval == paired_bootstrap(a.per_image, b.per_image, score=mean_iou, resamples=300)
    assert [row.name for row in found.scores[3:]] == ["mIoU, 2 px", "mIoU, 4 px"]
    assert found.scores[3].a == a.boundary[2].miou
    for i, row in enumerate(found.classes):
        assert row.interval == paired_bootstrap(a.per_image, b.per_image, score=class_iou(i), resamples=300)


def test_verdicts(found, runs):
    same = compare(runs[0][0], runs[0][0], resamples=100)
    assert {row.verdict for row in same.scores} == {"no difference can be claimed"}
    assert all(image.share == 0 for image in same.images)
    better = compare(runs[1][0], scored_blind_everywhere(runs), resamples=100)
    assert better.scores[1].verdict == "A is better"
    swapped = compare(scored_blind_everywhere(runs), runs[1][0], resamples=100)
    assert swapped.scores[1].verdict == "B is better"
    assert swapped.scores[1].interval.low == pytest.approx(-better.scores[1].interval.high)


def scored_blind_everywhere(runs):
    """All pixels taken for class 0, as counts: nothing right elsewhere."""
    found = runs[0][0]
    counts = found.per_image.copy()
    truth = counts[:, 0] + counts[:, 2]
    counts[:, 0], counts[:, 1], counts[:, 2] = 0, 0, truth
    counts[:, 0, 0], counts[:, 2, 0] = truth[:, 0], 0
    counts[:, 1, 0] = truth[:, 1:].sum(-1)
    return replace(found, per_image=counts)


def test_few_images_are_warned_of(found, runs):
    assert "3 images are few" in found.warning and found.to_json()["warning"] == found.warning
    page = comparison_report(found, names=("a", "b"), settings={}, versions={})
    assert found.warning in "".join(Parsed(page).text)
    many = [repeated(one, FEW_IMAGES) for one, _ in runs]
    assert compare(*many, resamples=100).warning is None
    fewer = [repeated(one, FEW_IMAGES - 1) for one, _ in runs]
    assert "29 images are few" in compare(*fewer, resamples=100).warning


def repeated(found, images):
    """The first image so many times under other names."""
    rows = {"per_image": found.per_image[[0] * images], "per_image_bands": {}}
    return replace(found, names=tuple(f"{i:02}" for i in range(images)), **rows)


def test_further_metrics_are_compared(data):
    names = ("boundary_iou", "boundary_f")
    a, b = (scored(data, blind, metrics=names)[0] for blind in (PATCH, None))
    rows = {row.name: row for row in compare(a, b, resamples=100).scores}
    assert rows["Boundary IoU"].a == a.metrics["boundary_iou"].metric.scores().miou < rows["Boundary IoU"].b == 1
    assert rows["boundary F"].a == a.metrics["boundary_f"].metric.scores().mean < rows["boundary F"].b == 1
    assert rows["boundary F"].interval.low <= rows["boundary F"].interval.difference < 0
    assert "boundary F" not in {row.name for row in compare(a, scored(data)[0], resamples=100).scores}


def test_images_by_difference(found):
    assert found.images[0].name == "e"  # 144 pixels of the patch, missed by A, and as many of the other, missed by B
    assert found.images[0].share == pytest.approx(288 / (60 * 79))
    assert found.images[1].share == pytest.approx((144 - 24) / (60 * 79))  # A misses 24 of class 1, B 144
    assert [image.name for image in found.images[1:]] == ["a&b", "c<i>d"]
    assert found.images[1].a > found.images[1].b


def test_json(found):
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["scores"]["mIoU"]["difference"] == found.scores[0].interval.difference
    assert content["classes"]['"car"']["decided"] in (True, False)
    assert content["images"][0]["name"] == "e"


def test_absent_classes_cannot_be_compared(runs):
    a, b = (replace(run[0], per_image=run[0].per_image[:2], names=run[0].names[:2]) for run in runs)
    found = compare(a, b, resamples=100)
    row = found.classes[2]
    assert row.verdict == "cannot be compared" and row.to_json()["a"] is None
    assert "– to –" not in comparison_report(found, names=("a", "b"), settings={}, versions={})


def test_what_cannot_be_compared(runs):
    a, b = runs[0][0], runs[1][0]
    with pytest.raises(DataError, match='other classes: only A has 1, such as ""car""; only B has 1, such as "bus"'):
        compare(a, replace(b, classes=Classes.named((*NAMES[:2], "bus"))))
    with pytest.raises(DataError, match='number 0 is "sky & clouds" in A'):
        compare(a, replace(b, classes=Classes.named((NAMES[1], NAMES[0], NAMES[2]))))
    with pytest.raises(DataError, match='other images, 3 and 2: only A has 1, such as "e"'):
        compare(a, replace(b, per_image=b.per_image[:2], names=b.names[:2]))
    with pytest.raises(DataError, match='masks differ in 1 of 3 images, such as "e"'):
        counts = b.per_image.copy()
        counts[2, 0, 0] += 1
        compare(a, replace(b, per_image=counts))


def test_regions_hold_what_was_planted():
    truth = np.zeros((100, 150), dtype=np.int64)
    truth[40:50, 60:75] = 1
    truth[:5] = 255
    a, b = truth.copy(), np.zeros_like(truth)
    b[80:95, 100:120] = 0
    a[80:95, 100:120] = 2
    a[:5], b[:5] = 0, 1
    first, second = resolved_regions(truth, a, b, ignore_index=255)
    assert (first.run, first.box, first.pixels) == ("b", (100, 80, 120, 95), 300)
    assert (second.run, second.box, second.pixels) == ("a", (60, 40, 75, 50), 150)
    assert resolved_regions(truth, a, a, ignore_index=255) == []


def test_regions_of_one_run_count_every_pixel_once():
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, (64, 64))
    a, b = truth.copy(), generator.integers(0, 3, (64, 64))
    found = resolved_regions(truth, a, b, ignore_index=255, count=50)
    assert {region.run for region in found} == {"a"}
    assert sum(region.pixels for region in found) <= int((b != truth).sum())
    assert [region.pixels for region in found] == sorted((region.pixels for region in found), reverse=True)


@pytest.mark.parametrize("box", [(0, 0, 5, 5), (70, 50, 80, 60), (30, 20, 40, 32), (0, 0, 80, 60), (10, 2, 11, 58)])
def test_enlargements_hold_their_region(box):
    left, top, right, bottom = enlarged(box, (60, 80))
    assert 0 <= left <= box[0] and box[2] <= right <= 80 and 0 <= top <= box[1] and box[3] <= bottom <= 60
    assert (right - left) / (bottom - top) == pytest.approx(80 / 60, rel=0.1)


def test_page(found, runs):
    looked = list(examples([image.name for image in found.images[:2]], [runs[0][1], runs[1][1]]))
    shown = [Compared.of(one, found.a.classes) for one in looked]
    page = comparison_report(
        found, names=("runs/<a>", "runs/b&c"), settings={"split": "test"}, versions={"torch": "2.x"}, shown=shown
    )
    assert_self_contained(page)
    parsed = Parsed(page)
    text = "".join(parsed.text)
    for word in (*NAMES, *IMAGES, "runs/<a>", "runs/b&c", "no difference can be claimed"):
        assert word in text
    planted = {"a": OTHER, "b": PATCH}
    boxes = {run: parsed.all("rect", f"frame {run}") for run in planted}
    assert len(parsed.all("img")) == 2 * 2 * 5 and all(boxes.values())
    for run, (left, top, right, bottom) in planted.items():
        x, y, width, height = (float(boxes[run][0][key]) for key in ("x", "y", "width", "height"))
        assert left <= x < x + width <= right and top <= y < y + height <= bottom
        assert width * height >= 0.9 * (right - left) * (bottom - top)
    assert shown[0].to_json()[0]["run"] in planted
    for row in (*found.scores, *found.classes):
        assert f"{100 * row.a:.2f}" in text and f"{100 * abs(row.interval.difference):.2f}" in text
