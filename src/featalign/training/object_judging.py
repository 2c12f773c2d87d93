"""Judging by average precision and by panoptic quality."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from featalign.data.objects import AnyObjects, AnySegments, ObjectSample, PanopticSample, class_ids, coco_results
from featalign.metrics import (
    ConfusionMatrix,
    DetectionScores,
    PanopticQuality,
    PanopticScores,
    average_precision,
    sum_over_processes,
)
from featalign.models import Detector
from featalign.training.engine import gathered
from featalign.training.judging import Judgement


class DetectionJudge:
    """Box AP, and mask AP where the network and the set have masks: then that is what the best network has most of."""

    def __init__(self, dataset: AnyObjects) -> None:
        self._dataset = dataset
        self._rows: list[dict[str, Any]] = []
        self._masks = False

    def see(self, model: Detector, batch: ObjectSample, device: torch.device) -> None:
        answer = _answer(model, batch["image"], device)
        self._masks = self._dataset.masks and "masks" in answer
        self._rows += coco_results(answer, image_id=batch["image_id"], categories=self._dataset.categories)

    def judgement(self) -> Judgement:
        parts = gathered([(self._masks, self._rows)])
        masks = any(has for has, _ in parts)  # a process without an image of its own cannot tell
        truth, rows = self._dataset.truth, [row for _, rows in parts for row in rows]
        found = {"box": average_precision(truth, rows, kind="bbox")}
        if masks:
            found["mask"] = average_precision(truth, rows, kind="segm")
        best = found["mask" if masks else "box"]
        row = {"ap": best.ap, **{kind: _means(scores) for kind, scores in found.items()}}
        text = "  ".join(f"{kind} AP {100 * s.ap:.2f} (AP50 {100 * s.ap50:.2f})" for kind, s in reversed(found.items()))
        return Judgement(row, "ap", text)


class PanopticJudge:
    """Panoptic quality over all classes, and of things and stuff; mean IoU where the network knows each pixel's class.

    The best has most of the former; where nothing is a thing, of the latter.
    """

    def __init__(self, dataset: AnySegments) -> None:
        self._dataset = dataset
        self._quality = PanopticQuality(len(dataset.classes), dataset.things)
        self._confusion = ConfusionMatrix(len(dataset.classes))

    def see(self, model: Detector, batch: PanopticSample, device: torch.device) -> None:
        answer = _answer(model, batch["image"], device)
        if "semantic" in answer:
            self._confusion.update(answer["semantic"], class_ids(batch))
        found = dict(enumerate(answer["segment_labels"].tolist(), start=1))
        true = dict(zip(batch["numbers"].tolist(), batch["labels"].tolist(), strict=True))
        crowds = batch["numbers"][batch["crowd"]].tolist()
        self._quality.update(answer["segments"], found, batch["segments"].as_subclass(Tensor), true, crowds=crowds)

    def judgement(self) -> Judgement:
        found, confusion = sum_over_processes(self._quality).scores(), sum_over_processes(self._confusion)
        text = "  ".join(
            f"PQ{of} {100 * quality.pq:.2f}"
            for of, quality in (("", found.all), (" things", found.things), (" stuff", found.stuff))
        )
        row = _panoptic_row(found, self._dataset)
        if not confusion.matrix.any():
            return Judgement(row, "pq", text)
        miou = confusion.scores().miou
        text = f"{text}  mIoU {100 * miou:.2f}"
        return Judgement({**row, "miou": miou}, "pq" if self._dataset.things else "miou", text)


def _answer(model: Detector, image: Tensor, device: torch.device) -> dict[str, Tensor]:
    (answer,) = model([image.as_subclass(Tensor).to(device)])
    return {name: values.cpu() for name, values in answer.items()}


def _means(scores: DetectionScores) -> dict[str, Any]:
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    return {name: getattr(scores, name) for name in names}


def _panoptic_row(found: PanopticScores, dataset: AnySegments) -> dict[str, Any]:
    parts = {"things": found.things, "stuff": found.stuff}
    return {
        **asdict(found.all),
        **{name: asdict(quality) for name, quality in parts.items()},
        "classes": {name: quality.pq for name, quality in zip(dataset.classes.names, found.classes, strict=True)},
    }
