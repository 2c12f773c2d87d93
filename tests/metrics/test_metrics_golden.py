"""The published IFA evaluation's counts, where its meaning agrees with ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from featalign.metrics import ConfusionMatrix, scores

pytestmark = pytest.mark.golden


def check_counts(matrix: Tensor, expected: dict[str, Tensor]) -> None:
    """``matrix`` has a column K for predictions of K: the published union counts them for class K-1."""
    classes = len(expected["target"])
    truth, hits = matrix.sum(1)[:classes], matrix.diagonal()[:classes]
    predicted = matrix.sum(0)[:classes]
    predicted[-1] += matrix[:, classes].sum()
    assert torch.equal(hits, expected["intersection"])
    assert torch.equal(truth, expected["target"])
    assert torch.equal(truth + predicted - hits, expected["union"])


def check_scores(matrix: Tensor, expected: dict[str, Tensor]) -> None:
    """There an absent class counts as 0 in the means over all K, and 1e-10 stands in every denominator."""
    ours = scores(matrix)
    share = 1 - len(ours.absent) / len(matrix)
    assert ours.pixel_accuracy == pytest.approx(float(expected["allacc"]), rel=1e-9)
    assert ours.miou * share == pytest.approx(float(expected["miou"]), rel=1e-9)
    assert ours.mean_accuracy * share == pytest.approx(float(expected["macc"]), rel=1e-9)


def cases_of(tensors: dict[str, Tensor]) -> dict[str, dict[str, dict[str, Tensor]]]:
    cases: dict[str, dict[str, dict[str, Tensor]]] = {}
    for key, tensor in tensors.items():
        case, side, name = key.split("/")
        cases.setdefault(case, {}).setdefault(side, {})[name] = tensor
    return cases


def test_intersection_and_union_of_ifa(golden_dir: Path) -> None:
    folders = sorted(golden_dir.glob("metric_ifa_iou*"))
    if not folders:
        pytest.skip(f"{golden_dir} holds no metric_ifa_iou*")
    for folder in folders:
        meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())
        classes = meta["ctor"]["K"]
        for case in cases_of(load_file(folder / "io.safetensors")).values():
            pred, target = case["in"]["pred"], case["in"]["target"]
            wide = ConfusionMatrix(classes + 1)
            wide.update(pred, target)
            check_counts(wide.matrix, case["out"])
            confusion = ConfusionMatrix(classes)
            if (pred[target != 255] == classes).any():  # ours refuses what the published code folds into class K-1
                with pytest.raises(ValueError, match=f"ids \\[{classes}\\]"):
                    confusion.update(pred, target)
            else:
                confusion.update(pred, target)
                check_scores(confusion.matrix, case["out"])
