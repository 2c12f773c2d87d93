"""Where the pixels of a box lie, exactly."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, example, given
from hypothesis import strategies as st

from featalign.ops import linear_taps, pixel_axes, pixel_axis, resize, resize_at_once, resize_coarse

SIDES = st.integers(1, 90)


@given(side=st.integers(2, 3000), cells=SIDES, blend=st.booleans(), ends=st.tuples(SIDES, SIDES))
def test_a_box_on_the_pixel_grid_is_a_part_of_it(side, cells, blend, ends):
    start, stop = sorted((ends[0] % side, ends[1] % side))
    stop = max(stop, start + 1)
    part, box = pixel_axis(side).part(start, stop), pixel_axis(stop - start, start / side, stop / side)
    for i in (0, stop - start - 1):  # the same positions, as fractions
        assert (part.first + i * part.step) * box.whole == (box.first + i * box.step) * part.whole
    assert part.reach(cells, blend=blend) == box.reach(cells, blend=blend)
    assert part.period(cells) == box.period(cells)


@given(count=SIDES, low=st.floats(0, 0.9), span=st.floats(0.001, 0.1))
def test_any_box_is_met_closely(count, low, span):
    axis = pixel_axis(count, low, low + span)
    centres = low + span * (torch.arange(count, dtype=torch.float64) + 0.5) / count
    assert torch.allclose(axis.centres(dtype=torch.float64), centres, rtol=0, atol=2e-7)


@given(count=SIDES, ends=st.tuples(st.floats(0, 1), st.floats(0, 1)))
@example(count=3, ends=(1 - 1e-9, 1))
@example(count=3, ends=(1 - 1e-15, 1))
@example(count=3, ends=(0.3, 0.3 + 1e-13))
def test_pixels_of_the_narrowest_box_lie_apart_within_the_image(count, ends):
    assume(ends[0] != ends[1])
    axis = pixel_axis(count, *sorted(ends))
    assert axis.step > 0
    assert 0 < axis.first <= axis.first + (count - 1) * axis.step < axis.whole


@pytest.mark.parametrize("box", [(0.5, 0, 0.5, 1), (0, 0.6, 1, 0.4), (-0.1, 0, 1, 1), (0, 0, 1, 1.01)])
def test_boxes_that_are_none(box):
    with pytest.raises(ValueError, match="within 0 … 1 and not empty"):
        pixel_axes((4, 4), box)


@given(count=SIDES, cells=SIDES, align_corners=st.booleans())
def test_resizing_is_torchs(count, cells, align_corners):
    maps = torch.rand(2, 3, cells, 5, dtype=torch.float64)
    options = {"align_corners": align_corners, "dtype": torch.float64}
    rows, columns = linear_taps(pixel_axis(count), cells, **options), linear_taps(pixel_axis(7), 5, **options)
    expected = F.interpolate(maps, (count, 7), mode="bilinear", align_corners=align_corners)
    assert torch.allclose(resize(maps, rows, columns), expected, rtol=0, atol=1e-9)
    start = count // 3
    window, part = columns.part(1, 6), rows.part(start, count)
    cut = maps[:, :, part.reach.start : part.reach.stop]
    got = resize(cut, part.shift(-part.reach.start), window)
    assert torch.allclose(got, expected[:, :, start:, 1:6], rtol=0, atol=1e-9)


@given(count=SIDES, part=SIDES, beyond=st.integers(0, 40), ends=st.tuples(SIDES, SIDES))
def test_pixels_of_an_image_lie_as_far_in_a_larger_one(count, part, beyond, ends):
    start, stop = sorted((ends[0] % count, ends[1] % count))
    axis, whole = pixel_axis(count).part(start, max(stop, start + 1)), part + beyond
    within = axis.within(part, whole)
    assert within.length == axis.length
    for i in (0, axis.length - 1):
        own, larger = (Fraction(a.first + i * a.step, a.whole) for a in (axis, within))
        assert larger == own * Fraction(part, whole)


@given(cells=SIDES, count=SIDES, part=SIDES, beyond=st.integers(0, 40), align_corners=st.booleans())
def test_resizing_a_part_at_once_or_by_products_is_resizing(cells, count, part, beyond, align_corners):
    maps = torch.rand(2, 3, 4, cells, dtype=torch.float64)
    rows, columns = pixel_axis(9).part(0, 8), pixel_axis(count).within(part, part + beyond)
    options = {"align_corners": align_corners, "dtype": torch.float64}
    wanted = resize(maps, linear_taps(rows, 4, **options), linear_taps(columns, cells, **options)._replace(grid=0))
    got = resize_at_once(maps, rows, columns, align_corners=align_corners)
    assert torch.allclose(got, wanted, rtol=0, atol=1e-9)
    if not align_corners:
        assert torch.allclose(resize_coarse(maps, rows, columns), wanted, rtol=0, atol=1e-9)
