"""Decoded samples in memory: once, in few bytes, as many as fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fabricate import fabricate

from featalign.data import cache as cache_module
from featalign.data import in_order, load_batches, open_dataset
from featalign.data.cache import smallest
from featalign.memory import free_memory


@pytest.fixture
def city(tmp_path: Path) -> Path:
    return fabricate("cityscapes", tmp_path, size=(10, 10), images=6)


def test_workers_share_what_was_decoded_before(city: Path) -> None:
    expected = list(open_dataset(city, "train"))
    dataset = open_dataset(city, "train", cache=True)
    loader = load_batches(dataset, in_order(6), workers=2)
    first = next(loader)
    shutil.rmtree(city)
    for a, b in zip(expected, [first, *loader], strict=True):
        assert torch.equal(a["image"], b["image"][0]) and torch.equal(a["mask"], b["mask"][0])
    assert dataset.notes == () and dataset.ids(0).dtype == np.uint8


def test_what_does_not_fit_is_decoded_each_time(city: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "free_memory", lambda: 2 * 2 * 10 * 10 * 4)  # half of it: two samples
    dataset = open_dataset(city, "train", cache=True)
    (note,) = dataset.notes
    assert note.startswith("2 of 6 samples are kept in memory: all would take about")
    samples = list(dataset)
    shutil.rmtree(city / "leftImg8bit")
    assert torch.equal(dataset[1]["image"], samples[1]["image"])
    with pytest.raises(Exception, match="does not exist"):
        dataset[2]


@pytest.mark.parametrize(("high", "dtype"), [(255, np.uint8), (300, np.uint16), (70_000, np.int64)])
def test_ids_keep_their_values(high: int, dtype: type) -> None:
    stored = smallest(np.array([[0, high]], np.int64))
    assert stored.dtype == dtype and stored.tolist() == [[0, high]]
    assert smallest(np.array([[-1]], np.int64)).tolist() == [[-1]]


def test_free_memory_is_plausible() -> None:
    free = free_memory()
    assert free is None or 0 <= free < 2**50
