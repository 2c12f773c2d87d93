from __future__ import annotations

import numpy as np
import pytest

from featalign.figures import colorize, overlay
from featalign.spec import Classes

CLASSES = Classes.named(["sky", "road", "pole", "never seen"])


def make_pair(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (height, width))
    labels[0, 0] = 255
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), labels


def colors_in(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(color) for color in picture.reshape(-1, 3).tolist()}


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_without_a_legend_is_the_blend_at_the_images_size(alpha: float) -> None:
    image, labels = make_pair(9, 14)
    picture = np.asarray(overlay(image, labels, CLASSES, alpha=alpha, legend=False))
    expected = (1 - alpha) * image + alpha * colorize(labels, CLASSES)
    assert picture.shape == image.shape
    assert np.abs(picture - expected).max() <= 1


def test_legend_names_the_classes_that_occur_beside_the_whole_image() -> None:
    image, labels = make_pair(400, 500)
    picture = np.asarray(overlay(image, labels, CLASSES, alpha=0.3))
    plain = np.asarray(overlay(image, labels, CLASSES, alpha=0.3, legend=False))
    np.testing.assert_array_equal(picture[:400, :500], plain)
    swatches = colors_in(picture[:, 500:])
    assert {CLASSES.colors[i] for i in range(3)} <= swatches
    assert CLASSES.colors[3] not in swatches
    assert tuple(picture[-1, -1]) == (255, 255, 255)


@pytest.mark.parametrize(("size", "shown"), [((20, 30), (220, 330)), ((320, 100), (320, 100)), ((1, 1), (320, 320))])
def test_small_images_grow_by_whole_factors(size: tuple[int, int], shown: tuple[int, int]) -> None:
    image, labels = make_pair(*size)
    picture = np.asarray(overlay(image, labels, CLASSES, alpha=1.0))
    factor = shown[0] // size[0]
    np.testing.assert_array_equal(
        picture[: shown[0], : shown[1]], colorize(labels, CLASSES).repeat(factor, 0).repeat(factor, 1)
    )
    assert picture.shape[1] > shown[1]


def test_a_legend_of_many_classes_stays_in_sight() -> None:
    classes = Classes.numbered(60)
    labels = np.arange(60).repeat(60).reshape(60, 60)
    picture = np.asarray(overlay(np.zeros((60, 60, 3), dtype=np.uint8), labels, classes))
    assert picture.shape[0] == 360  # 60 enlarged six times: the names go into more columns, not below the picture
    assert set(classes.colors) <= colors_in(picture[:, 360:])


def test_wrong_input() -> None:
    image, labels = make_pair(8, 8)
    with pytest.raises(ValueError, match=r"alpha=1\.5"):
        overlay(image, labels, CLASSES, alpha=1.5)
    with pytest.raises(ValueError, match=r"labels of size \(7, 8\) for an image of \(8, 8\)"):
        overlay(image, labels[:-1], CLASSES)
    with pytest.raises(ValueError, match="expected uint8"):
        overlay(image.astype(float), labels, CLASSES)
    with pytest.raises(ValueError, match=r"ids \[9\]"):
        overlay(image, np.full((8, 8), 9), CLASSES)
