"""Objects over their image, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from featalign.figures import object_overlay
from featalign.spec import Classes

IMAGE = np.full((20, 30, 3), 100, np.uint8)
BOXES = np.array([[2.0, 3.0, 10.0, 12.0], [15.0, 5.0, 28.0, 18.0]])


def test_masks_are_tinted_and_boxes_drawn_on_their_outermost_pixels():
    masks = np.zeros((2, 20, 30), bool)
    masks[0, 5:9, 4:8] = True
    picture = np.asarray(object_overlay(IMAGE, BOXES, ["", ""], masks=masks, alpha=0.25)).astype(int)
    first, second = (np.array(color) for color in Classes.numbered(2).colors)
    assert (np.abs(picture[5:9, 4:8] - (75 + first / 4)) <= 0.5).all()
    frame = np.zeros((20, 30), bool)
    for (left, top, right, bottom), color in zip(BOXES.astype(int), (first, second), strict=True):
        edge = np.zeros_like(frame)
        edge[top:bottom, left:right] = True
        edge[top + 1 : bottom - 1, left + 1 : right - 1] = False
        assert (picture[edge] == color).all()
        frame |= edge
    assert (picture[~frame & ~masks.any(0)] == 100).all()


def test_captions_are_written_where_they_fit():
    plain, short, long = (np.asarray(object_overlay(IMAGE, BOXES[1:], [text])) for text in ("", "a", "a nucleus"))
    assert (plain != short).any()
    assert np.array_equal(plain, long)


@pytest.mark.parametrize(
    ("boxes", "captions", "masks"),
    [
        (BOXES, ["a"], None),
        (BOXES[:, :3], ["a", "b"], None),
        (BOXES, ["a", "b"], np.zeros((2, 20, 31), bool)),
    ],
)
def test_what_does_not_belong_together_is_refused(boxes, captions, masks):
    with pytest.raises(ValueError, match=r"expected \(N, 4\), N and \(N, H, W\)"):
        object_overlay(IMAGE, boxes, captions, masks=masks)
