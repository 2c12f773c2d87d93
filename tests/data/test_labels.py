from __future__ import annotations

import numpy as np
import pytest

from featalign.data.labels import check_counts, check_labels, count_labels, outside_values
from featalign.errors import DataError
from featalign.spec import Classes

THREE = Classes.named(["a", "b", "c"])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_counts_are_those_of_a_loop(dtype: type) -> None:
    mask = np.random.default_rng(0).choice(np.array([0, 3, 7, 100], dtype), (6, 5))
    naive: dict[int, int] = {}
    for value in mask.ravel().tolist():
        naive[value] = naive.get(value, 0) + 1
    assert count_labels(mask) == naive


def test_classes_and_ignore_index_pass() -> None:
    check_labels(np.array([[0, 1], [2, 255]], np.uint8), THREE)
    check_labels(np.array([[0, 65535]], np.uint16), Classes(THREE.names, THREE.colors, 65535))
    check_labels(np.array([[0, -1]], np.int32), Classes(THREE.names, THREE.colors, -1))


def test_values_and_how_often() -> None:
    mask = np.array([[0, 9, 9], [255, 7, 9]], np.uint8)
    assert outside_values(count_labels(mask), THREE) == {7: 1, 9: 3}
    with pytest.raises(DataError, match=r"outside the classes: 7 \(1 pixels\), 9 \(3 pixels\); expected 0 … 2, or 255"):
        check_labels(mask, THREE)


def test_negative_ids_are_outside() -> None:
    with pytest.raises(DataError, match=r"-1 \(1 pixels\)"):
        check_labels(np.array([[0, -1]], np.int32), THREE)


def test_many_values_are_cut_short() -> None:
    with pytest.raises(DataError, match="and 4 more"):
        check_labels(np.arange(12, dtype=np.uint8)[None], THREE)


@pytest.mark.parametrize(
    ("counts", "cure"),
    [
        ({1: 5, 2: 5, 3: 5}, "count from 1, subtract 1"),
        ({0: 1, 3: 5}, "0, where it means unlabelled, becomes 255"),
        ({0: 1, 40: 5}, "add the missing classes"),
    ],
)
def test_cures(counts: dict[int, int], cure: str) -> None:
    with pytest.raises(DataError, match=cure):
        check_counts(counts, THREE)


def test_black_and_white_is_recognized_when_255_is_no_ignore_index() -> None:
    with pytest.raises(DataError, match="masks of 0 and 255: write the foreground as 1"):
        check_counts({0: 4, 255: 4}, Classes(THREE.names, THREE.colors, 254))
