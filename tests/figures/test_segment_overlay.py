"""Segments over their image."""

from __future__ import annotations

import numpy as np
import pytest

from featalign.figures.segments import segment_overlay

IMAGE = np.full((40, 60, 3), 100, np.uint8)


@pytest.mark.parametrize("row", [0, 39])
def test_captions_at_the_border_of_the_image_are_seen_whole(row):
    """As of the sky, whose fullest row is often the image's first."""
    middle, border = np.zeros((2, 40, 60), int)
    middle[20], border[row] = 1, 1
    assert _letters(border) > 0.8 * _letters(middle) > 0


def _letters(segments: np.ndarray) -> int:
    """How many pixels the letters of a caption have."""
    picture = segment_overlay(IMAGE, segments, [(0, 0, 0)], ["sky"])
    return int((np.asarray(picture).min(-1) > 200).sum())
