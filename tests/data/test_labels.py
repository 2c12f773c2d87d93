from __future__ import annotations

import pickle

import numpy as np
import pytest

from featalign.data.labels import LabelMap, count_labels, identity, ranges
from featalign.errors import DataError
from featalign.spec import Classes

THREE = Classes.named(["a", "b", "c"])
SHIFTED = LabelMap(THREE, {1: 0, 2: 1, 300: 2}, frozenset({0}), "stored values", lambda counts: "no cure")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_counts_are_those_of_a_loop(dtype: type) -> None:
    mask = np.random.default_rng(0).choice(np.array([0, 3, 7, 100], dtype), (6, 5))
    naive: dict[int, int] = {}
    for value in mask.ravel().tolist():
        naive[value] = naive.get(value, 0) + 1
    assert count_labels(mask) == naive


def test_classes_and_ignore_index_pass() -> None:
    for classes, mask in [
        (THREE, np.array([[0, 1], [2, 255]], np.uint8)),
        (Classes(THREE.names, THREE.colors, 65535), np.array([[0, 65535]], np.uint16)),
        (Classes(THREE.names, THREE.colors, -1), np.array([[0, -1]], np.int32)),
    ]:
        ids = identity(classes).apply(mask)
        assert ids.dtype == np.int64 and ids.tolist() == mask.tolist()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_stored_values_become_ids(dtype: type) -> None:
    mask = np.array([[0, 1, 300], [2, 2, 0]], dtype)
    assert SHIFTED.apply(mask).tolist() == [[255, 0, 2], [1, 1, 255]]
    assert SHIFTED.count(count_labels(mask)) == {255: 2, 0: 1, 1: 2, 2: 1}


def test_values_and_how_often() -> None:
    mask = np.array([[0, 9, 9], [255, 7, 9]], np.uint8)
    assert identity(THREE).unknown(count_labels(mask)) == {7: 1, 9: 3}
    with pytest.raises(DataError, match=r"outside the classes: 7 \(1 pixels\), 9 \(3 pixels\); expected 0 … 2, or 255"):
        identity(THREE).apply(mask)
    with pytest.raises(DataError, match=r"stored values: 9 .*; expected 0 … 2, 300; no cure"):
        SHIFTED.apply(np.array([[9]], np.uint8))


@pytest.mark.parametrize("value", [-1, 70_000])
def test_ids_beyond_the_table_are_outside(value: int) -> None:
    with pytest.raises(DataError, match=rf"{value} \(1 pixels\)"):
        identity(THREE).apply(np.array([[0, value]], np.int32))


def test_many_values_are_cut_short() -> None:
    with pytest.raises(DataError, match="and 4 more"):
        identity(THREE).apply(np.arange(12, dtype=np.uint8)[None])


@pytest.mark.parametrize(
    ("counts", "cure"),
    [
        ({1: 5, 2: 5, 3: 5}, "count from 1, subtract 1 from each of them .--layout-option shift=-1"),
        ({0: 1, 3: 5}, "0, where it means unlabelled, becomes 255 .--layout-option reduce_zero=true"),
        ({0: 1, 40: 5}, "add the missing classes"),
    ],
)
def test_cures(counts: dict[int, int], cure: str) -> None:
    with pytest.raises(DataError, match=cure):
        identity(THREE).check(counts)


def test_black_and_white_is_recognized_when_255_is_no_ignore_index() -> None:
    with pytest.raises(DataError, match=r"masks of 0 and 255: write the foreground as 1.*\{255: 1\}"):
        identity(Classes(THREE.names, THREE.colors, 254)).check({0: 4, 255: 4})


def test_words_draw_runs_together() -> None:
    assert identity(THREE).words() == "classes 0 … 2 -> 0 … 2 (a … c); ignored: 255"
    assert SHIFTED.words() == "stored values 1 … 2 -> 0 … 1 (a … b), 300->2 c; ignored: 0"
    assert ranges([5, 1, 2, 3, 9]) == "1 … 3, 5, 9"


def test_a_used_map_can_be_pickled() -> None:
    labels = identity(THREE)
    labels.apply(np.zeros((1, 1), np.uint8))
    assert pickle.loads(pickle.dumps(labels)).apply(np.array([[2]], np.uint8)).tolist() == [[2]]
