from __future__ import annotations

import colorsys

import numpy as np
import pytest

from featalign.figures.alignment import alignment_figure, map_colors, value_range
from featalign.figures.fields import ARROWS, field_arrows, field_colors, field_key, longest

GRAY = np.full((130, 260, 3), 120, np.uint8)


def constant(x: float, y: float, height: int = 13, width: int = 26) -> np.ndarray:
    return np.stack([np.full((height, width), x), np.full((height, width), y)])


def colored(picture: np.ndarray) -> np.ndarray:
    """Where a picture is not gray."""
    return np.ptp(picture.astype(int), axis=-1) > 24


def test_hue_is_direction_and_saturation_is_length():
    rng = np.random.default_rng(0)
    field = rng.normal(size=(2, 5, 7))
    colors = field_colors(field, limit=1.5)
    for row in range(5):
        for column in range(7):
            x, y = field[:, row, column]
            share = min(np.hypot(x, y) / 1.5, 1)
            hue = np.degrees(np.arctan2(y, x)) % 360 / 360
            expected = 255 * np.array(colorsys.hsv_to_rgb(hue, share, 1 - 0.1 * share))
            np.testing.assert_allclose(colors[row, column], expected, atol=0.51)


def test_no_offset_is_white_whatever_the_limit():
    for limit in (0.0, 2.0):
        assert (field_colors(np.zeros((2, 3, 4)), limit=limit) == 255).all()


def test_longest_is_common_to_all_fields_and_deaf_to_a_single_cell():
    calm, wild = constant(0, 0.5, 100, 100), constant(3, 4, 100, 100)
    assert longest([calm, wild]) == pytest.approx(5)
    calm[:, 0, 0] = 1000
    assert longest([calm]) == pytest.approx(0.5)
    assert longest([]) == 0


@pytest.mark.parametrize(("x", "y"), [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_arrows_point_to_where_a_cell_reads(x: int, y: int):
    picture, factor = field_arrows(GRAY, constant(x, y), limit=2.0, size=(260, 130))
    assert factor == pytest.approx(260 / ARROWS / 10 / 2)  # one cell is 10 pixels, and two arrows are as far apart
    marks = colored(np.asarray(picture))
    middle = np.array([135, 65])  # an arrow starts here: (13 + 1/2) * 10, (6 + 1/2) * 10
    ahead, behind = middle + 3 * np.array([x, y]), middle - 3 * np.array([x, y])
    assert marks[ahead[1], ahead[0]] and not marks[behind[1], behind[0]]


def test_arrows_of_nothing():
    picture, factor = field_arrows(GRAY, constant(0, 0), limit=0.0, size=(260, 130))
    assert not colored(np.asarray(picture)).any() and factor == 1


def test_arrows_are_never_much_longer_than_their_distance():
    field = constant(0, 0)
    field[0, 6, 13] = 500
    marks = colored(np.asarray(field_arrows(GRAY, field, limit=1.0, size=(260, 130))[0]))
    assert 0 < np.flatnonzero(marks.any(0)).max() < 135 + 1.6 * 10 + 3


def test_key_shows_the_wheel_as_the_eye_sees_it():
    key = np.asarray(field_key(["one line"], text=15, diameter=84))
    for (x, y), place in {(1, 0): (78, 42), (0, 1): (42, 78), (-1, 0): (6, 42), (0, -1): (42, 6)}.items():
        expected = field_colors(constant(x, y, 1, 1), limit=1.0)[0, 0].astype(int)
        assert np.abs(key[place[1], place[0]].astype(int) - expected).max() < 60
    assert (key[0, 0] == 255).all() and key.shape[1] > 84 + 40


@pytest.mark.parametrize("field", [np.zeros((3, 4, 4)), np.zeros((2, 4)), np.zeros((2, 0, 4))])
def test_wrong_fields(field: np.ndarray):
    with pytest.raises(ValueError, match=r"expected \(2, height, width\)"):
        field_colors(field, limit=1.0)


def test_broken_weights():
    with pytest.raises(ValueError, match="nan"):
        longest([constant(np.nan, 0)])


def test_maps_rise_in_lightness_and_forget_outliers():
    colors = map_colors(np.linspace(-1, 2, 50)[None], low=-1.0, high=2.0)[0]
    lightness = colors @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > -1e-9).all() and lightness[-1] - lightness[0] > 150
    values = np.random.default_rng(0).normal(size=(40, 50))
    values[0, 0] = 1e6
    low, high = value_range(values)
    assert -4 < low < -1 and 1 < high < 4
    assert len(np.unique(map_colors(np.ones((3, 3)), low=1.0, high=1.0))) <= 3


@pytest.mark.parametrize("size", [(90, 120), (1, 1), (700, 40)])
def test_figure_has_a_place_for_every_map_field_and_the_image(size: tuple[int, int]):
    image = np.zeros((*size, 3), np.uint8)
    maps = {"coarse": np.ones((2, 3)), "coarse, moved": np.ones((4, 6))}
    field = {"coarse map": np.ones((2, 4, 6))}
    bare = alignment_figure("step", image=image, rows=[(maps, {})])
    moved = alignment_figure("step", image=image, rows=[(maps, field)])
    both = alignment_figure("step", image=image, rows=[(maps, field), (maps, {})])
    panel = (bare.width - 2 * 28 + 14) / 3 - 14  # two maps and the image
    assert moved.width == pytest.approx(bare.width + 2 * (panel + 14), abs=2) or panel < 320
    assert both.height > moved.height > bare.height
    edge = np.asarray(both)
    assert (np.concatenate([edge[:6].ravel(), edge[-6:].ravel(), edge[:, :6].ravel()]) == 255).all()
