"""How an answer of any size is cut into blocks: every pixel once, by a window that shows enough around it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from featalign.errors import ConfigError
from featalign.inference.blocks import STRIDE, Blocks
from featalign.inference.regions import region_of
from featalign.inference.views import ALL

CASES = [
    # image, seen, box, output, window, margin, scales
    ((1000, 1300), None, None, None, 448, 64, (1.0,)),
    ((1024, 2048), None, None, None, 512, 128, (1.0,)),
    ((1024, 2048), None, None, None, 352, 37, (1.0,)),
    ((100, 4000), None, None, None, 512, 100, (1.0,)),
    ((1000, 1300), None, None, (4000, 5200), 448, 64, (1.0,)),
    ((1000, 1300), None, None, (333, 433), 448, 64, (1.0,)),
    ((1000, 1300), (500, 650), None, (1000, 1300), 320, 64, (1.0,)),
    ((1000, 1300), None, (0.1, 0.25, 0.83, 0.9), None, 448, 64, (1.0,)),
    ((1000, 1300), None, None, None, 448, 64, (0.5, 1.0, 1.75)),
]


@pytest.mark.parametrize(("image", "seen", "box", "output", "window", "margin", "scales"), CASES)
def test_every_pixel_is_answered_once_with_its_margin(image, seen, box, output, window, margin, scales):
    region, natural = region_of(box, image)
    output = output or natural
    blocks = Blocks(image, seen or image, region, output, (window, window), margin, scales)
    count = np.zeros(output, np.uint8)
    found = list(blocks)
    assert len(found) == len(blocks) > 1
    for block in found:
        count[block.rows.start : block.rows.stop, block.columns.start : block.columns.stop] += 1
        for scale, view in zip(scales, blocks.views(block), strict=True):
            assert view.grid == block.size and view.size == tuple(round(side * scale) for side in seen or image)
            for axis, (span, cells) in enumerate(((view.rows[0], block.rows), (view.columns[0], block.columns))):
                start, stop = region[axis]
                edges = [
                    (start + (stop - start) * Fraction(c, output[axis])) * view.size[axis]
                    for c in (cells.start, cells.stop)
                ]
                assert span.start <= max(0, edges[0] - margin) and span.stop >= min(view.size[axis], edges[1] + margin)
                assert 0 <= span.start < span.stop <= view.size[axis]
                assert span.start % STRIDE == 0
                assert scale != 1 or span.stop - span.start <= window
    assert (count == 1).all()


def test_windows_are_of_one_size_but_where_the_image_ends():
    """A network is compiled, tuned or allocated for once per size."""
    blocks = Blocks((3000, 5000), (3000, 5000), ALL, (3000, 5000), (1024, 768), 96)
    for axis, length in ((0, 3000), (1, 5000)):
        spans = [(v.rows[0], v.columns[0])[axis] for b in blocks for v in blocks.views(b)]
        (size,) = {span.stop - span.start for span in spans if span.stop < length}
        (last,) = {span.stop - span.start for span in spans if span.stop == length}
        assert size - STRIDE < last <= size


def test_the_pixels_that_are_read_serve_all_scales():
    blocks = Blocks((900, 900), (900, 900), ALL, (900, 900), (384, 384), 64, (0.5, 1.0))
    views = blocks.views(next(iter(blocks.meeting(range(400, 401)))))
    half, full = (view.rows[0] for view in views)
    rows, _ = blocks.pixels(views)
    first, last = min(2 * half.start - 1, full.start), max(2 * half.stop + 1, full.stop)
    assert first - 1 <= rows.start <= first and last <= rows.stop <= last + 1


def test_blocks_of_some_rows():
    blocks = Blocks((900, 900), (900, 900), ALL, (900, 900), (384, 384), 64)
    for rows in (range(0, 1), range(250, 520), range(899, 900)):
        expected = [b for b in blocks if set(b.rows) & set(rows)]
        assert list(blocks.meeting(rows)) == expected != []


def test_windows_too_small_for_the_margin_are_refused():
    with pytest.raises(ConfigError, match="at least 288, or a smaller margin"):
        len(Blocks((900, 900), (900, 900), ALL, (900, 900), (256, 256), 128))
