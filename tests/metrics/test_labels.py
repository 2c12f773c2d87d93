"""Labels of any integer type, whether or not it has the ignore index."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featalign.metrics import (
    Accumulator,
    BoundaryBands,
    BoundaryFScore,
    BoundaryIoU,
    ConfusionMatrix,
    InstanceIoU,
    boundary_band,
)

TYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32]


def metrics(classes: int, ignore_index: int) -> list[Accumulator]:
    kinds = (ConfusionMatrix, BoundaryBands, BoundaryIoU, BoundaryFScore)
    instances = InstanceIoU(classes, [0, 1], ignore_index=ignore_index)
    return [*(kind(classes, ignore_index=ignore_index) for kind in kinds), instances]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("ignore_index", [-1, 3, 300])
def test_every_metric_takes_every_type(dtype: type, ignore_index: int) -> None:
    rng = np.random.default_rng(0)
    pred, target = rng.integers(0, 3, (2, 12, 9))
    if np.iinfo(dtype).min <= ignore_index <= np.iinfo(dtype).max:
        target[rng.random(target.shape) < 0.2] = ignore_index
    for wide, narrow in zip(metrics(3, ignore_index), metrics(3, ignore_index), strict=True):
        instances = [pred + 1] if isinstance(wide, InstanceIoU) else []
        wide.update(pred, target, *instances)
        narrow.update(pred.astype(dtype), target.astype(dtype), *(ids.astype(dtype) for ids in instances))
        assert all(torch.equal(narrow.state()[name], counts) for name, counts in wide.state().items())


@pytest.mark.parametrize(("label", "ignore_index"), [(255, -1), (44, 300)])
def test_a_class_is_not_void_modulo_256(label: int, ignore_index: int) -> None:
    target = torch.tensor([[0, label], [label, 0]], dtype=torch.uint8)
    confusion = ConfusionMatrix(256, ignore_index=ignore_index)
    confusion.update(target, target)
    assert confusion.matrix[label, label] == 2
    assert boundary_band(target, 1, ignore_index).all()
