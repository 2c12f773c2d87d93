"""How a network is judged on the validation split: what is summed up image by image, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from featalign.data import Batch, normalize
from featalign.metrics import ConfusionMatrix, Scores, sum_over_processes
from featalign.models import Segmentor
from featalign.spec import Classes
from featalign.training.questions import shown

M_contra = TypeVar("M_contra", contravariant=True)
B_contra = TypeVar("B_contra", contravariant=True)


@dataclass(frozen=True)
class Judgement:
    """What a validation found.

    Attributes:
        row: for the log; plain values, nan where there was nothing to score.
        metric: the value in ``row``, a share, that the best network has the most of.
        text: for the terminal.
    """

    row: dict[str, Any]
    metric: str
    text: str


class Judge(Protocol[M_contra, B_contra]):
    """Sums up over the images of one validation."""

    def see(self, model: M_contra, batch: B_contra, device: torch.device) -> None:
        """Adds the images of ``batch``, which lie on the CPU."""

    def judgement(self) -> Judgement:
        """Over the images that all processes saw."""


class PixelJudge:
    """By every labelled pixel, at each mask's own resolution: mIoU and its companions.

    The network sees images at ``input_scale`` of their size.
    """

    def __init__(self, classes: Classes, *, input_scale: float = 1.0) -> None:
        self._classes, self._scale = classes, input_scale
        self._confusion = ConfusionMatrix(len(classes), ignore_index=classes.ignore_index)

    def see(self, model: Segmentor, batch: Batch, device: torch.device) -> None:
        images = normalize(batch["image"].to(device), model.normalization)
        logits = model(shown(images, self._scale), size=(batch["mask"].shape[-2], batch["mask"].shape[-1]))
        self._confusion.update(logits.argmax(dim=1).cpu(), batch["mask"])

    def judgement(self) -> Judgement:
        found = sum_over_processes(self._confusion).scores()
        text = f"mIoU {100 * found.miou:.2f}  pixel accuracy {100 * found.pixel_accuracy:.2f}"
        return Judgement(scores_row(found, self._classes), "miou", text)


def scores_row(scores: Scores, classes: Classes) -> dict[str, Any]:
    """Scores under the names of the classes; a class that never occurs has IoU nan (null in JSON)."""
    return {
        "miou": scores.miou,
        "pixel_accuracy": scores.pixel_accuracy,
        "mean_accuracy": scores.mean_accuracy,
        "iou": dict(zip(classes.names, scores.iou, strict=True)),
        "absent": [classes.names[i] for i in scores.absent],
    }
