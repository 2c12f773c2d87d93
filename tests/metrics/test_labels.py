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


@pytest.mark.parametrize("ignored", [0, 2])
def test_an_ignored_class_is_an_answer_like_any_other(ignored: int) -> None:
    """Void is where the truth says so; the same id in the prediction is that class."""
    rng = np.random.default_rng(1)
    pred, target = rng.integers(0, 3, (2, 14, 17))
    apart = np.where(target == ignored, 255, target)
    for own, other in zip(metrics(3, ignored), metrics(3, 255), strict=True):
        instances = [rng.integers(0, 3, target.shape)] if isinstance(own, InstanceIoU) else []
        own.update(pred, target, *instances)
        other.update(pred, apart, *instances)
        assert all(torch.equal(own.state()[name], counts) for name, counts in other.state().items())


def test_ignore_index_beyond_32_bits() -> None:
    target = np.array([[0, 1], [1 << 40, 1]])
    for metric in metrics(2, 1 << 40)[1:4]:
        metric.update(target % 2, target)
        assert sum(int(counts.sum()) for counts in metric.state().values()) > 0
