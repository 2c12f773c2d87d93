"""Run as a program: scores of drawn images, shared out over processes that add up their counts.

python sharded_scores.py RANK PROCESSES FOLDER: the processes meet in FOLDER, and rank 0 writes scores.json there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from featalign.metrics import (
    BoundaryBands,
    BoundaryFScore,
    BoundaryIoU,
    ConfusionMatrix,
    InstanceIoU,
    sum_over_processes,
)

CLASSES, IMAGES = 4, 7


def image(index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, target and instances."""
    generator = torch.Generator().manual_seed(index)
    fine = torch.randint(CLASSES, (3, 24, 30 + index), generator=generator)
    coarse = torch.randint(CLASSES, (4, 6), generator=generator)
    target = coarse.repeat_interleave(6, 0).repeat_interleave(5 + index, 1)[:, : 30 + index]
    target = torch.nn.functional.pad(target, (0, 30 + index - target.shape[1]), value=255)
    pred = target.where((fine[0] > 0) & (target != 255), fine[1])
    return pred, target, fine[2]


def scores(rank: int, processes: int) -> dict[str, Any]:
    metrics = {
        "confusion": ConfusionMatrix(CLASSES),
        "bands": BoundaryBands(CLASSES, (1, 2)),
        "boundary_iou": BoundaryIoU(CLASSES, width=2),
        "boundary_f": BoundaryFScore(CLASSES, tolerance=1.5),
        "instances": InstanceIoU(CLASSES, (1, 2), categories=(0, 1, 1, 0)),
    }
    for index in range(rank, IMAGES, processes):
        pred, target, instances = image(index)
        for name, metric in metrics.items():
            metric.update(pred, target, *([instances] if name == "instances" else []))
    totals = {name: sum_over_processes(metric) for name, metric in metrics.items()}
    bands = {width: found.to_json() for width, found in totals.pop("bands").scores().items()}
    return {"bands": bands, **{name: metric.scores().to_json() for name, metric in totals.items()}}


if __name__ == "__main__":
    rank, processes, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=processes)
    found = scores(rank, processes)
    if rank == 0:
        (folder / "scores.json").write_text(json.dumps(found))
