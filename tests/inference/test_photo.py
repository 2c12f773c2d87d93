"""What labels are laid over, of images of any channels and bits."""

from __future__ import annotations

import numpy as np
import pytest

from featalign.inference.photo import as_rgb

RAMP = np.linspace(0, 1, 40 * 50).reshape(40, 50, 1)


@pytest.mark.parametrize("largest", [200, 4095, 10_000, 65_535])
@pytest.mark.parametrize("channels", [1, 2, 3, 13])
def test_sixteen_bits_are_seen_however_few_the_sensor_fills(largest, channels):
    pixels = np.repeat(RAMP * largest, channels, 2).round().astype(np.uint16)
    shown = as_rgb(pixels, (40, 50))
    assert shown.dtype == np.uint8 and shown.shape == (40, 50, 3)
    expected = np.minimum(255 * RAMP / 0.99, 255)
    assert np.abs(shown - expected).max() <= 255 / largest + 1


def test_one_bright_pixel_does_not_darken_the_rest():
    pixels = np.full((64, 64, 3), 300, np.uint16)
    pixels[5, 7] = 65535
    assert (as_rgb(pixels, (64, 64)) == 255).all()


@pytest.mark.parametrize("outside", [0, 65535])
@pytest.mark.parametrize("rows", [1, 20, 39])
def test_what_lies_outside_of_a_scene_does_not_change_its_colours(outside, rows):
    pixels = np.repeat(800 + RAMP * 2200, 4, 2).round().astype(np.uint16)
    alone = as_rgb(pixels[rows:], (40 - rows, 50))
    pixels[:rows] = outside
    shown = as_rgb(pixels, (40, 50))
    np.testing.assert_array_equal(shown[rows:], alone)
    assert (shown[:rows] == min(outside, 255)).all() and np.ptp(alone) > 3


@pytest.mark.parametrize("value", [0, 65535])
def test_images_of_one_value(value):
    assert np.unique(as_rgb(np.full((3, 4, 1), value, np.uint16), (6, 8))) == [min(value, 255)]


def test_eight_bits_are_shown_as_they_are():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.testing.assert_array_equal(as_rgb(pixels, (2, 3)), pixels[..., :3])
