from __future__ import annotations

import numpy as np
import pytest

from featalign.figures import VOID_COLOR
from featalign.figures.differences import Differences

TRUTH = np.array([[0, 0, 1, 1, 255]])
FIRST = np.array([[0, 1, 0, 1, 0]])
SECOND = np.array([[0, 1, 1, 0, 1]])
WHITE = np.full((1, 5, 3), 255, dtype=np.uint8)


def test_colors_tell_which_of_two_is_wrong() -> None:
    differences = Differences.between(TRUTH, {"a": FIRST, "b": SECOND}, 255)
    colors = {text: color for color, text in differences.key}
    painted = [tuple(color) for color in differences.paint(WHITE)[0].tolist()]
    expected = [(255, 255, 255), colors["both wrong"], colors["only a wrong"], colors["only b wrong"], VOID_COLOR]
    assert painted == expected


def test_one_prediction_is_right_or_wrong() -> None:
    differences = Differences.between(TRUTH, {"a": FIRST}, 255)
    ((color, text),) = differences.key
    painted = [tuple(value) for value in differences.paint(WHITE)[0].tolist()]
    assert text == "wrong"
    assert painted == [(255, 255, 255), color, color, (255, 255, 255), VOID_COLOR]


def test_of_more_predictions_the_wrong_ones_are_counted() -> None:
    differences = Differences.between(TRUTH, {"a": FIRST, "b": SECOND, "c": SECOND}, 255)
    colors = {text: color for color, text in differences.key}
    painted = [tuple(color) for color in differences.paint(WHITE)[0, 1:4].tolist()]
    assert painted == [colors["3 of 3 wrong"], colors["1 of 3 wrong"], colors["2 of 3 wrong"]]


def test_right_pixels_are_gray() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    labels = np.zeros((6, 7), dtype=int)
    painted = Differences.between(labels, {"a": labels}, 255).paint(image)
    assert (painted.max(2) == painted.min(2)).all()
    assert painted.min() >= 128


def loop_busiest(interest: np.ndarray, rows: int, columns: int) -> int:
    height, width = interest.shape
    return max(
        int(interest[y : y + rows, x : x + columns].sum())
        for y in range(height - rows + 1)
        for x in range(width - columns + 1)
    )


@pytest.mark.parametrize("size", [(16, 24), (9, 7), (3, 3), (1, 1)])
def test_busiest_box_holds_the_most_differences(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    truth, first, second = rng.integers(0, 3, (3, *size))
    differences = Differences.between(truth, {"a": first, "b": second}, 255)
    left, top, right, bottom = differences.busiest_box() or (0, 0, 0, 0)
    disagree = (first == truth) != (second == truth)
    interest = disagree if disagree.any() else first != truth
    assert (bottom - top, right - left) == (max(1, size[0] // 4), max(1, size[1] // 4))
    assert interest[top:bottom, left:right].sum() == loop_busiest(interest, bottom - top, right - left)


def test_no_box_where_nothing_is_wrong() -> None:
    assert Differences.between(TRUTH, {"a": TRUTH, "b": np.where(TRUTH == 255, 0, TRUTH)}, 255).busiest_box() is None
