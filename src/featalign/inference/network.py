"""What a predictor needs of a network, and the two ways of asking one about a part of what it has seen."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from featalign.inference.resampling import box_taps, resample
from featalign.models import Segmentor
from featalign.models.adaptive import EFFORT
from featalign.models.network import Features, Mode
from featalign.spec import Classes, Normalization

Box = tuple[float, float, float, float]
Size = tuple[int, int]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


class Network(Protocol):
    """A network of this library, or a file that was exported from one."""

    @property
    def classes(self) -> Classes: ...
    @property
    def in_channels(self) -> int: ...
    @property
    def normalization(self) -> Normalization: ...

    def __call__(self, images: Tensor, size: Size | None = None, mode: Mode = "auto") -> Tensor:
        """Normalized images (B, in_channels, H, W) to logits ``(B, K, *size)``."""
        ...


class Seen(Protocol):
    """Images that a network has looked at."""

    def logits(self, box: Box, size: Size, *, max_memory: int | None = None) -> Tensor:
        """The answer (B, K, *size) over ``box``, (left, top, right, bottom) in [0, 1] of the images."""
        ...


@dataclass(frozen=True)
class Encoded:
    """By a :class:`Segmentor`: its features are kept, and asked where the answer is wanted."""

    model: Segmentor
    features: Features
    mode: Mode
    effort: float
    context: Callable[[], AbstractContextManager[None]]

    def logits(self, box: Box, size: Size, *, max_memory: int | None = None) -> Tensor:
        with torch.inference_mode(), self.context():
            part = None if box == WHOLE else box
            return self.model.decode(
                self.features, size, self.mode, box=part, max_memory=max_memory, effort=self.effort
            )

    def labels(self, box: Box, size: Size, *, max_memory: int | None = None) -> Tensor:
        """The ids (B, *size) of the largest logits, which are never all held at once."""
        with torch.inference_mode(), self.context():
            part = None if box == WHOLE else box
            return self.model.labels(
                self.features, size, self.mode, box=part, max_memory=max_memory, effort=self.effort
            )


@dataclass
class Answered:
    """By a network that knows only whole answers: one on ``grid`` is kept, and read bilinearly between its cells."""

    network: Network
    images: Tensor
    grid: Size
    mode: Mode
    context: Callable[[], AbstractContextManager[None]]
    _answer: Tensor | None = field(default=None, init=False)

    def logits(self, box: Box, size: Size, *, max_memory: int | None = None) -> Tensor:
        if self._answer is None:
            with torch.inference_mode(), self.context():
                self._answer = self.network(self.images, size=self.grid, mode=self.mode)
        left, top, right, bottom = box
        rows = box_taps(self.grid[0], (top, bottom), size[0])
        columns = box_taps(self.grid[1], (left, right), size[1])
        return resample(self._answer, rows, columns)


def look(
    network: Network,
    images: Tensor,
    *,
    grid: Size,
    mode: Mode,
    effort: float = EFFORT,
    context: Callable[[], AbstractContextManager[None]],
) -> Seen:
    """Show normalized ``images`` to ``network``. ``grid``: where one without ``encode`` is asked."""
    if isinstance(network, Segmentor):
        with torch.inference_mode(), context():
            return Encoded(network, network.encode(images), mode, effort, context)
    return Answered(network, images, grid, mode, context)
