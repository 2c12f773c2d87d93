"""Judging detectors: the same judgement in every process, also in one that no image fell to."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from coco_files import made_content, write_files
from torch import Tensor, nn

from featalign.data.objects import open_objects
from featalign.models import Detector
from featalign.spec import Classes
from featalign.training.object_judging import DetectionJudge, PanopticJudge

pytest.importorskip("pycocotools", reason="pip install 'featalign[detection]'")


class Halves(nn.Module):
    """Finds one object, whose box is right and whose mask is not."""

    def forward(self, images: list[Tensor], targets: None) -> list[dict[str, Tensor]]:
        mask = torch.zeros(1, 1, *images[0].shape[1:])
        mask[..., 1:3, 1:3] = 1
        box = torch.tensor([[1.0, 1.0, 4.0, 5.0]])
        return [{"boxes": box, "labels": torch.tensor([2]), "scores": torch.ones(1), "masks": mask}]


def test_a_process_without_an_image_judges_as_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, place = open_objects(*write_files(tmp_path, made_content())), torch.device("cpu")
    busy, idle = DetectionJudge(dataset), DetectionJudge(dataset)
    busy.see(Detector(Halves(), dataset.classes, {}, in_channels=3), dataset[0], place)
    said: list[list[Any]] = []

    def first(items: list[Any]) -> list[Any]:
        said.append(items)
        return items

    monkeypatch.setattr("featalign.training.object_judging.gathered", first)
    expected = busy.judgement()
    monkeypatch.setattr("featalign.training.object_judging.gathered", lambda items: [*said.pop(0), *items])
    assert idle.judgement() == expected
    assert expected.row["mask"]["ap"] == expected.row["ap"] < expected.row["box"]["ap"]


def test_where_nothing_is_there_to_be_found_the_quality_is_nan_and_can_be_compared_with_the_next() -> None:
    judge = PanopticJudge(SimpleNamespace(classes=Classes.named(["car", "sky"]), things=(0,)))
    found = judge.judgement()
    assert found.metric == "pq" and math.isnan(found.row["pq"])
    assert all(math.isnan(found.row[part][name]) for part in ("things", "stuff") for name in ("pq", "sq", "rq"))
