"""Counts in JSON: short, and exactly as they were."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featalign.metrics import Accumulator, BoundaryFScore, BoundaryIoU, InstanceIoU

Counts = NDArray[np.int64]
METRICS: dict[str, type[BoundaryIoU] | type[BoundaryFScore]] = {
    "boundary_iou": BoundaryIoU,
    "boundary_f": BoundaryFScore,
}
"""The metrics that an evaluation counts only if asked, with the settings of their papers."""


def packed(counts: Counts) -> dict[str, Any]:
    """Shape, and the values as little-endian int64, deflated, in base 64."""
    content = zlib.compress(np.ascontiguousarray(counts, dtype="<i8").tobytes())
    return {"shape": list(counts.shape), "int64_zlib_base64": base64.b64encode(content).decode("ascii")}


def unpacked(content: Mapping[str, Any]) -> Counts:
    """What :func:`packed` was given. Raises KeyError, TypeError, ValueError or zlib.error for anything else."""
    values = np.frombuffer(zlib.decompress(base64.b64decode(content["int64_zlib_base64"])), dtype="<i8")
    return values.reshape(content["shape"]).astype(np.int64)


def packed_metrics(metrics: Mapping[str, Accumulator]) -> dict[str, Any]:
    """The counts of some of :data:`METRICS` by name."""
    return {
        name: {key: packed(counts.numpy()) for key, counts in metric.state().items()}
        for name, metric in metrics.items()
    }


def unpacked_metrics(content: Mapping[str, Any], classes: int, ignore_index: int) -> dict[str, Accumulator]:
    """What :func:`packed_metrics` was given. Raises as :func:`unpacked`."""
    metrics: dict[str, Accumulator] = {}
    for name, state in content.items():
        metrics[name] = METRICS[name](classes, ignore_index=ignore_index)
        metrics[name].load_state({key: torch.from_numpy(unpacked(counts)) for key, counts in state.items()})
    return metrics


_INSTANCE_SETTINGS = ("instance_classes", "mean_sizes", "categories")


def packed_instances(metric: InstanceIoU | None) -> dict[str, Any] | None:
    """Its settings and counts."""
    if metric is None:
        return None
    settings = {name: getattr(metric, name) for name in _INSTANCE_SETTINGS}
    return {**settings, "counts": {key: packed(counts.numpy()) for key, counts in metric.state().items()}}


def unpacked_instances(content: Mapping[str, Any] | None, classes: int, ignore_index: int) -> InstanceIoU | None:
    """What :func:`packed_instances` was given. Raises as :func:`unpacked`."""
    if content is None:
        return None
    settings = {name: content[name] for name in _INSTANCE_SETTINGS}
    metric = InstanceIoU(classes, ignore_index=ignore_index, **settings)
    metric.load_state({key: torch.from_numpy(unpacked(counts)) for key, counts in content["counts"].items()})
    return metric
