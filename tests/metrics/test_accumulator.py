from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from label_maps import CLASSES, pair
from torch import Tensor

from featalign.metrics import (
    Accumulator,
    BoundaryBands,
    BoundaryFScore,
    BoundaryIoU,
    ConfusionMatrix,
    InstanceIoU,
    sum_over_processes,
)

METRICS: dict[str, Callable[..., Any]] = {
    "confusion": ConfusionMatrix,
    "bands": BoundaryBands,
    "boundary_iou": BoundaryIoU,
    "boundary_f": BoundaryFScore,
    "instances": lambda classes, **options: InstanceIoU(classes, (0, 2), **options),
}
each_metric = pytest.mark.parametrize("make", METRICS.values(), ids=METRICS.keys())


def add(metric: Any, seed: int) -> None:
    pred, target = pair(20, 22, seed=seed)
    more = [torch.arange(20 * 22).reshape(20, 22) // 50] if isinstance(metric, InstanceIoU) else []
    metric.update(pred, target, *more)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@each_metric
def test_sums_of_parts_are_the_whole_in_any_order(make: Callable[..., Any]) -> None:
    whole, parts = make(CLASSES), [make(CLASSES) for _ in range(3)]
    for seed in range(6):
        add(whole, seed)
        add(parts[seed % 3], seed)
    before = parts[2].state()
    assert same((parts[2] + parts[0] + parts[1]).state(), whole.state())
    assert same(parts[2].state(), before)
    assert str((parts[0] + parts[1] + parts[2]).scores()) == str(whole.scores())


@each_metric
def test_state_is_a_copy_in_int64_that_can_be_loaded(make: Callable[..., Any]) -> None:
    metric, other = make(CLASSES), make(CLASSES)
    add(metric, 1)
    state = metric.state()
    assert all(counts.dtype == torch.int64 for counts in state.values()) and any(c.any() for c in state.values())
    other.load_state(state)
    assert str(other.scores()) == str(metric.scores())
    add(metric, 2)
    assert not same(state, metric.state())
    assert same(other.state(), state)


@each_metric
def test_state_of_another_metric_is_refused(make: Callable[..., Any]) -> None:
    metric = make(CLASSES)
    before = metric.state()
    for wrong in (make(CLASSES + 1).state(), {}, {name: counts.float() for name, counts in before.items()}):
        with pytest.raises(ValueError, match=f"{type(metric).__name__} expects int64 counts"):
            metric.load_state(wrong)
    assert same(metric.state(), before)


@each_metric
def test_metrics_of_other_settings_do_not_add_up(make: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="got classes 3 and 4"):
        make(3) + make(4)
    with pytest.raises(ValueError, match="got ignore_index 255 and 7"):
        make(3) + make(3, ignore_index=7)


def test_metrics_of_two_kinds_do_not_add_up() -> None:
    with pytest.raises(TypeError):
        ConfusionMatrix(3) + BoundaryIoU(3)  # type: ignore[operator]
    with pytest.raises(ValueError, match="got width 2 and 3"):
        BoundaryIoU(3, width=2) + BoundaryIoU(3, width=3)


def test_without_a_process_group_the_sum_is_a_copy() -> None:
    metric: Accumulator = ConfusionMatrix(CLASSES)
    add(metric, 0)
    total = sum_over_processes(metric)
    assert same(total.state(), metric.state())
    add(metric, 1)
    assert not same(total.state(), metric.state())


def test_two_processes_give_the_scores_of_one(tmp_path: Path) -> None:
    """Judged by what rank 0 wrote: such processes sometimes abort when all is done, at exit."""
    script = Path(__file__).with_name("sharded_scores.py")
    one = json.loads(json.dumps(runpy.run_path(str(script))["scores"](0, 1)))
    started = [subprocess.Popen([sys.executable, str(script), str(rank), "2", str(tmp_path)]) for rank in range(2)]
    for process in started:
        process.wait(timeout=120)
    two = json.loads((tmp_path / "scores.json").read_text())
    assert one == two
    assert 0 < one["instances"]["miou"] < 1 and 0 < one["boundary_f"]["mean_per_image"] < 1
