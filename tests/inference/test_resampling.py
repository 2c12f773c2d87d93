"""Resampling a part equals resampling the whole and cutting, which torch does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from featalign.inference.resampling import box_taps, resample, resize_taps


@pytest.mark.parametrize(
    ("size", "out"), [((13, 17), (13, 17)), ((13, 17), (29, 40)), ((31, 24), (9, 23)), ((5, 5), (1, 1))]
)
@pytest.mark.parametrize("aligned", [False, True])
def test_parts_of_a_resized_map(size, out, aligned):
    x = torch.rand(2, 3, *size)
    rule = {"align_corners": True} if aligned else {"antialias": True}
    whole = F.interpolate(x, size=out, mode="bilinear", **rule)
    rows, columns = range(out[0] // 3, out[0]), range(max(out[1] // 2, 1))
    row_taps = resize_taps(size[0], out[0], rows, aligned=aligned)
    column_taps = resize_taps(size[1], out[1], columns, aligned=aligned)
    expected = whole[..., rows.start : rows.stop, columns.start : columns.stop]
    torch.testing.assert_close(resample(x, row_taps, column_taps), expected, rtol=0, atol=2e-5)
    top, bottom = row_taps.region
    part = resample(x[..., top:bottom, :], row_taps.within(top), column_taps)
    torch.testing.assert_close(part, expected, rtol=0, atol=2e-5)


def test_a_box_on_cells_is_read_as_it_is():
    x = torch.rand(1, 2, 10, 12)
    got = resample(x, box_taps(10, (0.2, 0.7), 5), box_taps(12, (0.25, 1.0), 9))
    assert torch.equal(got, x[..., 2:7, 3:])
