"""How often each class occurs in each training image, and the loss weights that follow.

Belongs before the first step, after the data was checked: :func:`class_weights` for the objective where
``loss.class_weights`` is not "none", :func:`label_counts` for :mod:`featalign.training.oversampling` where
``data.oversample`` is above 0. Only masks are read, by threads.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featalign.data import Progress, SegmentationDataset, class_pixels, silent
from featalign.data.progress import threaded
from featalign.errors import ConfigError
from featalign.losses import balanced_weights
from featalign.spec import Classes
from featalign.training.recipe import LossRecipe


@runtime_checkable
class Masks(Protocol):
    """A data set that can read a mask alone: class ids (H, W)."""

    def __len__(self) -> int: ...

    def ids(self, index: int, /) -> NDArray[np.integer]: ...


def label_counts(dataset: object, classes: Classes, *, progress: Progress = silent) -> Tensor:
    """Pixels of each class in each image: int64 (images, classes). Ignored pixels and values of no class are left out.

    Raises:
        ConfigError: if the data set cannot read masks alone.
        DataError: if a mask cannot be read, and the data set does not skip such.
    """
    if not isinstance(dataset, Masks):
        raise ConfigError(
            "loss.class_weights: balanced and data.oversample count the labels of the training images, which this data "
            "set does not give; open it with open_dataset, or give it a method ids(index) -> class ids (H, W)"
        )
    if isinstance(dataset, SegmentationDataset):
        return class_pixels(dataset, progress=progress)
    masks, number = dataset, len(classes)

    def count(index: int) -> NDArray[np.int64]:
        ids = masks.ids(index)
        counted = (ids >= 0) & (ids < number) & (ids != classes.ignore_index)
        return np.bincount(ids[counted].astype(np.int64), minlength=number)

    rows = progress(threaded(count, range(len(masks))), total=len(masks), description="counting labels")
    return torch.from_numpy(np.array(list(rows), dtype=np.int64).reshape(len(masks), number))


def class_weights(recipe: LossRecipe, classes: Classes, pixels: Tensor | None) -> Tensor | None:
    """The weights (K,) that ``recipe.class_weights`` asks for, or None.

    Args:
        recipe: "balanced" is the median frequency over the class's (:func:`featalign.losses.balanced_weights`).
        classes: what the numbers of a list are of, in this order.
        pixels: of each class over the training split, (K,): ``label_counts(...).sum(0)``; needed by "balanced" only.

    Raises:
        ConfigError: if a list has not one number per class, or all are 0.
    """
    chosen = recipe.class_weights
    if chosen == "none":
        return None
    if chosen == "balanced":
        if pixels is None:
            raise ConfigError("loss.class_weights: balanced needs the pixels of each class; count them first")
        return balanced_weights(pixels)
    if len(chosen) != len(classes) or not any(chosen):
        raise ConfigError(
            f"loss.class_weights: got {len(chosen)} numbers, expected one for each of the {len(classes)} classes "
            f"({', '.join(classes.names)}), not all 0"
        )
    return torch.tensor(chosen)
