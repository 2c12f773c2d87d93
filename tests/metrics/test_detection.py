"""AP against pycocotools' stored results, and cases that can be worked out by hand."""

from __future__ import annotations

import copy
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featalign.data.objects.rle import encode
from featalign.errors import ConfigError
from featalign.metrics import average_precision

pytest.importorskip("pycocotools", reason="pip install 'featalign[detection]'")

TRUTH: dict[str, Any] = {
    "images": [{"id": 1, "width": 200, "height": 100}, {"id": 2, "width": 200, "height": 100}],
    "categories": [{"id": 3, "name": "a"}, {"id": 8, "name": "b"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 20, 20], "area": 400, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 3, "bbox": [10, 10, 50, 50], "area": 2500, "iscrowd": 0},
    ],
}


def detection(image: int, box: list[float], score: float, category: int = 3) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def test_one_of_two_found_is_half():
    """Recall 1/2 at precision 1: of the 101 recall levels 0 … 0.5 are reached, at every threshold."""
    found = [detection(1, [0, 0, 20, 20], 0.9)]
    before = copy.deepcopy((TRUTH, found))
    scores = average_precision(TRUTH, found, kind="bbox")
    assert scores.ap == scores.ap50 == pytest.approx(51 / 101)
    assert (scores.ap_small, scores.ap_medium) == pytest.approx((1, 0))
    assert math.isnan(scores.ap_large)
    assert scores.class_ap[0] == pytest.approx(51 / 101) and math.isnan(scores.class_ap[1])
    assert scores.to_json()["class_ap"][1] is None
    assert (TRUTH, found) == before


def test_thresholds():
    """A box that covers 0.6 of the true one is found at IoU 0.50, 0.55 and 0.60, not at 0.65."""
    truth = {**TRUTH, "annotations": TRUTH["annotations"][:1]}
    scores = average_precision(truth, [detection(1, [0, 0, 20, 12], 0.9)], kind="bbox")
    assert scores.ap == pytest.approx(3 / 10)
    assert (scores.ap50, scores.ap75) == pytest.approx((1, 0))


@pytest.mark.parametrize("numbers", [(0, 1), (7, 0), (-1, 0), (5, 5)])
def test_the_numbers_of_annotations_do_not_matter(numbers):
    """pycocotools marks what is found by its number, and takes 0 for nothing; tools that count from 0 are common."""
    rows = [{**row, "id": number} for row, number in zip(TRUTH["annotations"], numbers, strict=True)]
    found = [detection(row["image_id"], row["bbox"], 0.9) for row in rows]
    assert average_precision({**TRUTH, "annotations": rows}, found, kind="bbox").ap == pytest.approx(1)


def test_nothing_found_is_nothing(capsys):
    assert average_precision(TRUTH, [], kind="bbox").ap == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (detection(7, [0, 0, 1, 1], 1), r"image_id \[7\], which are not among the truth's images"),
        (detection(1, [0, 0, 1, 1], 1, category=4), r"category_id \[4\], which are not among the truth's categories"),
        ({"image_id": 1, "category_id": 3, "score": 1}, '1 of 1 detections have no "bbox"'),
    ],
)
def test_wrong_detections_are_refused(row, message):
    with pytest.raises(ValueError, match=message):
        average_precision(TRUTH, [row], kind="bbox")


def test_a_truth_without_areas_is_refused():
    annotations = [{name: value for name, value in row.items() if name != "area"} for row in TRUTH["annotations"]]
    with pytest.raises(ValueError, match='2 of 2 annotations have no "area"'):
        average_precision({**TRUTH, "annotations": annotations}, [], kind="bbox")


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(ConfigError, match=r"featalign\[detection\]"):
        average_precision(TRUTH, [], kind="bbox")


@pytest.mark.golden
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_equals_the_golden_vectors(golden_dir: Path, kind):
    folder = golden_dir / "metric_coco_ap"
    if not folder.is_dir():
        pytest.skip(f"{golden_dir} holds no metric_coco_ap")
    meta, truth, found = (json.loads((folder / f"{name}.json").read_text()) for name in ("meta", "gt", "dt"))
    scores, expected = average_precision(truth, found, kind=kind), meta["results"][kind]
    ours = [value for value in vars(scores).values() if isinstance(value, float)]
    assert ours == pytest.approx(list(expected["stats"].values()), rel=1e-9)
    assert scores.class_ap == pytest.approx(list(expected["per_category_AP"].values()), rel=1e-9)


def disc(radius: float, *, side: int = 100) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] - side / 2
    return (rows**2 + columns**2 < radius**2).astype(np.uint8)


@pytest.mark.parametrize("width", [1, 3, 7])
def test_contours_are_what_erosions_take(width):
    from scipy.ndimage import binary_erosion

    from featalign.metrics.mask_boundaries import inner_contour

    for mask in (disc(30), np.ones((20, 30), np.uint8), np.eye(25, dtype=np.uint8), np.zeros((9, 9), np.uint8)):
        left = binary_erosion(mask, np.ones((3, 3)), iterations=width)
        np.testing.assert_array_equal(inner_contour(mask, width), mask - left)


def test_masks_are_compared_near_their_contours(tmp_path):
    """A disc of another radius overlaps well, and badly near its contour."""
    rows = [{"id": 1, "image_id": 1, "category_id": 3, "iscrowd": 0, "bbox": [10, 10, 80, 80], "area": 5026}]
    truth = {"images": [{"id": 1, "height": 100, "width": 100}], "categories": [{"id": 3, "name": "disc"}]}
    truth["annotations"] = [{**rows[0], "segmentation": encode(disc(40))}]

    def found(radius: float) -> list[dict[str, Any]]:
        return [{"image_id": 1, "category_id": 3, "score": 0.9, "segmentation": encode(disc(radius))}]

    assert average_precision(truth, found(40), kind="boundary").ap == pytest.approx(1)
    inner = average_precision(truth, found(38), kind="segm").ap, average_precision(truth, found(38), kind="boundary").ap
    contours = [disc(radius) - disc(radius - 3) for radius in (40, 38)]
    overlap = (contours[0] & contours[1]).sum() / (contours[0] | contours[1]).sum()
    assert inner[0] > 0.75 and overlap < 0.5 and inner[1] == 0
    assert average_precision(truth, [], kind="boundary").ap == 0
