"""Answers of a detector as COCO's results."""

from __future__ import annotations

import pytest
import torch

from featalign.data.objects import coco_results, open_objects
from featalign.metrics import average_precision

pytest.importorskip("pycocotools", reason="pip install 'featalign[detection]'")


def test_the_truth_as_an_answer_scores_one(content, write):
    """Through both conventions and back: labels from 1, edges, probabilities of masks."""
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 0
    dataset = open_objects(*write(content))
    rows = []
    for sample in dataset:
        answer = {
            "boxes": sample["boxes"].as_subclass(torch.Tensor),
            "labels": sample["labels"] + 1,
            "scores": torch.full((len(sample["labels"]),), 0.5),
            "masks": sample["masks"].as_subclass(torch.Tensor)[:, None] * 0.8 + 0.1,
        }
        rows += coco_results(answer, image_id=sample["image_id"], categories=dataset.file.categories)
    assert [row["category_id"] for row in rows] == [8, 3, 3, 8] and rows[0]["bbox"] == [1, 1, 3, 4]
    for kind in ("bbox", "segm"):
        assert average_precision(dataset.truth, rows, kind=kind).ap == pytest.approx(1)


def test_boxes_alone():
    answer = {"boxes": torch.tensor([[1.0, 2.0, 4.0, 8.0]]), "labels": torch.tensor([1]), "scores": torch.tensor([0.5])}
    expected = {"image_id": 9, "category_id": 7, "score": 0.5, "bbox": [1.0, 2.0, 3.0, 6.0]}
    assert coco_results(answer, image_id=9, categories=(7,)) == [expected]
