"""How many pixels of each class each image has: for weights of classes, and for drawing rare ones more often."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from featalign.data.dataset import SegmentationDataset
from featalign.data.progress import Progress, silent, threaded
from featalign.data.reading import UnreadableError


def class_pixels(dataset: SegmentationDataset, *, progress: Progress = silent) -> Tensor:
    """Pixels per class of every sample, int64 (N, K), ignored pixels left out.

    Masks alone are read, by threads, one at a time in memory for each. With ``on_error="skip"``, an unreadable mask
    counts nothing and is added to ``dataset.skipped``.

    Raises:
        DataError: naming the file, as reading the sample would.
    """
    classes = len(dataset.classes)

    def count(index: int) -> np.ndarray:
        try:
            ids = dataset.ids(index)
        except UnreadableError as error:
            dataset.leave_out(index, error)
            return np.zeros(classes, np.int64)
        inside = ids[(ids < classes) & (ids >= 0) & (ids != dataset.classes.ignore_index)]
        return np.bincount(inside.astype(np.int64, copy=False).ravel(), minlength=classes)

    rows = progress(threaded(count, range(len(dataset))), total=len(dataset), description="counting classes")
    return torch.from_numpy(np.array(list(rows), dtype=np.int64).reshape(len(dataset), classes))
