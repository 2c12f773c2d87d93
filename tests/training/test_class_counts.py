from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fabricate import fabricate

from featalign.data import open_dataset
from featalign.errors import ConfigError, DataError
from featalign.spec import Classes
from featalign.training.class_counts import class_weights, label_counts
from featalign.training.recipe import LossRecipe


class Stored:
    """Masks by number, and nothing else."""

    def __init__(self, *masks: list[list[int]]) -> None:
        self.masks = [np.array(mask) for mask in masks]

    def __len__(self) -> int:
        return len(self.masks)

    def ids(self, index: int) -> np.ndarray:
        return self.masks[index]


def test_pixels_of_each_class_in_each_image():
    counts = label_counts(Stored([[0, 0, 2], [255, 2, 2]], [[1]], [[255, 255]]), Classes.numbered(4))
    assert counts.tolist() == [[2, 0, 3, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert counts.dtype == torch.int64


def test_a_class_that_is_ignored_has_no_pixels():
    classes = replace(Classes.numbered(3), ignore_index=0)
    assert label_counts(Stored([[0, 0, 2], [1, 2, 2]]), classes).tolist() == [[0, 1, 3]]


def test_a_set_that_skips_counts_nothing_of_what_cannot_be_read(tmp_path):
    root = fabricate("folder", tmp_path / "set", size=(12, 16), images=3)
    mask = root / "train/masks/001.png"
    mask.write_bytes(mask.read_bytes()[:40])
    skipping, stopping = (open_dataset(root, "train", on_error=how) for how in ("skip", "stop"))
    assert label_counts(skipping, skipping.classes).sum(1).gt(0).tolist() == [True, False, True]
    with pytest.raises(DataError, match="001"):
        label_counts(stopping, stopping.classes)


def test_a_set_that_has_no_masks_of_its_own_says_what_it_lacks():
    with pytest.raises(ConfigError, match=r"a method ids\(index\)"):
        label_counts([{"mask": 1}], Classes.numbered(2))


def test_balanced_is_the_median_over_the_frequency():
    weights = class_weights(LossRecipe(class_weights="balanced"), Classes.numbered(4), torch.tensor([80, 20, 10, 0]))
    assert weights.tolist() == pytest.approx([0.25, 1.0, 2.0, 1.0])


def test_given_weights_and_none():
    classes = Classes.numbered(3)
    assert class_weights(LossRecipe(), classes, None) is None
    assert class_weights(LossRecipe(class_weights=(1.0, 0.0, 2.0)), classes, None).tolist() == [1, 0, 2]


@pytest.mark.parametrize("given", [(1.0, 2.0), (0.0, 0.0, 0.0)])
def test_weights_that_do_not_fit_name_the_classes(given):
    with pytest.raises(
        ConfigError, match=rf"got {len(given)} numbers, expected one for each of the 3 classes \(sky, sea"
    ):
        class_weights(LossRecipe(class_weights=given), Classes.named(["sky", "sea", "land"]), None)
