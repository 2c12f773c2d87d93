"""What runs in the network's thread: several images at once, each as if alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featalign.inference import Predictor
from featalign.inference.objects import Objects
from featalign.inference.panoptic import Segments, find
from featalign.inference.predictor import as_images
from featalign.models import Detector, Segmentor
from featalign.models.network import Mode
from featalign.serve.problems import CannotError
from featalign.serve.question import Question
from featalign.serve.sessions import Kept

Pixels = NDArray[np.integer]
Labels = NDArray[np.integer]


@dataclass(frozen=True)
class Segment:
    """Images of one size to labels. Jobs whose ``Segment`` and image size are equal can go together."""

    predictor: Predictor
    question: Question

    def __call__(self, images: Sequence[Pixels]) -> Sequence[Labels]:
        asked = copy.copy(self.predictor)
        asked.views = self.question.views(self.predictor.views)
        batch = torch.cat([as_images(image) for image in images])
        labels = asked.labels(batch, size=self.question.size, input_size=self.question.input_size)
        return list(labels.cpu().numpy())


@dataclass(frozen=True)
class Detect:
    """Images to what is in them, one by one: detectors decide by each how much there is to do."""

    model: Detector
    device: str
    threshold: float

    def __call__(self, images: Sequence[Pixels]) -> Sequence[Objects | Segments]:
        pixels = (image.astype(np.uint8, copy=False) for image in images)  # what detectors read
        return [find(self.model, image, threshold=self.threshold, device=self.device) for image in pixels]


@dataclass(frozen=True)
class Encode:
    """Images to what a model keeps of them, in float32."""

    name: str
    predictor: Predictor
    question: Question

    def __call__(self, images: Sequence[Pixels]) -> Sequence[Kept]:
        return [self._encode(image) for image in images]

    def _encode(self, image: Pixels) -> Kept:
        model = segmentor(self.name, self.predictor)
        with torch.inference_mode():
            features = model.encode(self.predictor.shown(as_images(image), self.question.input_size))
        return Kept(self.name, features, (image.shape[0], image.shape[1]))


@dataclass(frozen=True)
class Ask:
    """Points (n, 2), (x, y) in [0, 1], to the probabilities (n, K) of the classes there.

    ``mode``: how the model answers for whole images; what ``adaptive`` would choose among has no meaning at points.
    """

    model: Segmentor
    kept: Kept
    mode: Mode

    def __call__(self, queries: Sequence[NDArray[np.float32]]) -> Sequence[NDArray[np.float32]]:
        return [self._ask(torch.from_numpy(points)) for points in queries]

    def _ask(self, points: Tensor) -> NDArray[np.float32]:
        device = self.kept.features.maps[0].device
        mode = "auto" if self.mode == "adaptive" else self.mode
        with torch.inference_mode():
            logits = self.model.query(self.kept.features, points[None].to(device), mode)
        return logits[0].float().softmax(0).T.cpu().numpy()


def segmentor(name: str, predictor: Predictor) -> Segmentor:
    """The network, if it can be asked at points. Raises CannotError for an exported one."""
    if isinstance(predictor.model, Segmentor):
        return predictor.model
    raise CannotError(
        f'model "{name}" was exported and answers for whole images only; to ask at points, serve the run it came from'
    )
