"""Polygons against drawing them again, and against hand-made maps."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from featalign.figures.polygons import polygons


def area(ring: np.ndarray) -> float:
    x, y = ring.T
    return (np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def filled(found, shape) -> np.ndarray:
    """Even-odd filling by counting the vertical edges to the left of each pixel, independent of the tracer."""
    canvas = np.full(shape, -1)
    for polygon in found:
        crossings = np.zeros((shape[0], shape[1] + 1), dtype=int)
        for ring in (polygon.exterior, *polygon.holes):
            for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                if x0 == x1:
                    crossings[min(y0, y1) : max(y0, y1), x0] += 1
        inside = np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1
        assert not (canvas[inside] >= 0).any(), "regions overlap"
        canvas[inside] = polygon.label
        assert inside.sum() == polygon.area
    return canvas


@pytest.mark.parametrize("seed", range(12))
def test_exact_polygons_draw_the_map_again(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 23, 2)
    labels = rng.integers(0, rng.integers(1, 5), (height, width))
    np.testing.assert_array_equal(filled(polygons(labels), labels.shape), labels)


def test_smooth_regions_with_holes_in_holes():
    rows, columns = np.mgrid[:61, :83]
    labels = (np.hypot(rows - 30, columns - 41) // 7 % 3).astype(np.uint8)
    found = polygons(labels)
    np.testing.assert_array_equal(filled(found, labels.shape), labels)
    assert any(polygon.holes for polygon in found)


def test_one_region_is_its_rectangle():
    (only,) = polygons(np.zeros((3, 5), dtype=np.uint8))
    assert only.exterior.tolist() == [[0, 0], [5, 0], [5, 3], [0, 3]]
    assert (only.label, only.holes, only.area) == (0, (), 15)


def test_a_ring_has_a_hole_that_runs_the_other_way():
    labels = np.zeros((5, 5), dtype=np.uint8)
    labels[1:4, 1:4] = 1
    labels[2, 2] = 0
    outer, ring, dot = polygons(labels)
    assert (outer.area, ring.area, dot.area) == (16, 8, 1)
    assert (area(ring.exterior), [area(hole) for hole in ring.holes]) == (9, [-1])


def test_pixels_that_touch_at_a_corner_are_two_regions():
    assert [p.area for p in polygons(np.eye(2, dtype=int), ignore=0)] == [1, 1]


def test_every_corner_turns():
    labels = np.random.default_rng(0).integers(0, 2, (9, 9))
    for polygon in polygons(labels):
        for ring in (polygon.exterior, *polygon.holes):
            before, after = ring - np.roll(ring, 1, 0), np.roll(ring, -1, 0) - ring
            assert ((before != 0) != (after != 0)).all()


def test_ignored_pixels_have_no_outline():
    labels = np.array([[0, 255], [255, 255]])
    (only,) = polygons(labels, ignore=255)
    assert only.area == 1
    assert polygons(np.full((2, 2), 255), ignore=255) == []


def test_small_regions_and_holes_can_be_left_out():
    labels = np.zeros((9, 9), dtype=np.uint8)
    labels[1, 1] = labels[4:7, 4:7] = 1
    big, square = polygons(labels, min_area=2)
    assert [len(big.holes), square.area] == [1, 9]


def test_simplified_outlines_stay_within_the_tolerance():
    disc = Image.new("L", (120, 120))
    ImageDraw.Draw(disc).ellipse((10, 20, 110, 90), fill=1)
    labels = np.asarray(disc)
    exact, loose = (next(p for p in polygons(labels, tolerance=tolerance) if p.label == 1) for tolerance in (0.0, 1.5))
    assert len(loose.exterior) < len(exact.exterior) / 4
    ends = np.roll(loose.exterior, -1, axis=0)
    for point in exact.exterior:
        along = (ends - loose.exterior).astype(float)
        place = np.clip(((point - loose.exterior) * along).sum(1) / (along**2).sum(1), 0, 1)
        assert np.hypot(*(loose.exterior + place[:, None] * along - point).T).min() <= 1.5


def test_a_single_pixel_is_not_simplified_away():
    labels = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    dot = polygons(labels, tolerance=5)[-1]
    assert len(dot.exterior) == 4


def test_wrong_labels_are_refused():
    with pytest.raises(ValueError, match="integer class ids"):
        polygons(np.zeros((2, 2, 3)))
