"""The calls that every segmentation network here answers: encode once, then decode at any size or query any point."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from featalign.errors import ConfigError, did_you_mean
from featalign.models.adaptive import EFFORT, adaptive_labels, adaptive_logits
from featalign.models.asking import between_cells, pixel_points
from featalign.models.card import ModelCard
from featalign.models.decoding import (
    as_labels,
    assemble,
    assemble_labels,
    dense,
    in_one,
    resized,
    resized_in_one,
)
from featalign.models.folding import folded
from featalign.models.network import Features, Mode, SegmentationNetwork
from featalign.models.sharing import push_to_hub, save_pretrained
from featalign.ops import Box, PixelAxis, answers_at, checked_box, sample_at


class Segmentor(SegmentationNetwork):
    """Base of the networks.

    Images are float (B, in_channels, H, W), normalized with :attr:`normalization`, of any size from one pixel up.
    """

    def decode(
        self,
        features: Features,
        size: tuple[int, int] | None = None,
        mode: Mode = "auto",
        *,
        box: Box | None = None,
        max_memory: int | None = None,
        effort: float = EFFORT,
    ) -> Tensor:
        """Logits ``(B, K, *size)`` on any output grid.

        Args:
            features: from :meth:`encode`.
            size: (height, width) of the answer, any; default the input's, or the box's at the input's resolution.
            mode: ``dense`` asks the network at every output pixel, ``resized`` resizes the answer on the finest map's
                grid bilinearly, ``adaptive`` is resized with the network's own answer where that is not to be trusted,
                ``auto`` is what measurement chose for this network (docs/resolution.md): ``dense`` for a seamless
                implicit function, ``adaptive`` for a point head, ``resized`` for all others. Adaptive answers have no
                gradients: where these are on, in training, in traced programs and on the device ``meta``, ``auto`` of
                a point head is ``resized`` too, also in evaluation. Networks with neither function nor point head have
                no answer between their cells: there, all modes are ``resized``.
            box: (left, top, right, bottom) in [0, 1] of the image: the answer covers this part alone. Where its pixels
                are pixels of the whole image's grid, it is the crop of the whole image's answer.
            max_memory: bytes that may be held besides features and answer, in evaluation without gradients; default
                half of what is free.
            effort: of ``adaptive`` alone: the largest share of the pixels that is asked, from 0 (``resized``) to 1.

        Raises:
            ConfigError: for an unknown mode, what is no size or no box, an effort beyond 0 … 1, or less memory than
                one pixel needs.
        """
        rows, columns, mode = self._request(features, size, mode, box, effort)
        if mode == "adaptive":
            return adaptive_logits(self, features, rows, columns, effort=effort, max_memory=max_memory)
        if mode == "dense" and self.implicit is not None:
            logits: Tensor = self.implicit(features.maps, axes=(rows, columns), max_memory=max_memory)
            return logits
        if not (self.training or in_one(features)):
            pieces = (dense if mode == "dense" else resized)(self, features, rows, columns, max_memory)
            return assemble(pieces, rows, columns)
        if mode == "dense":
            return self.answer_points(features, pixel_points(rows, columns, features.maps[0].device)).unflatten(
                2, (rows.length, columns.length)
            )
        return resized_in_one(self, features, rows, columns)

    @torch.no_grad()
    def labels(
        self,
        features: Features,
        size: tuple[int, int] | None = None,
        mode: Mode = "auto",
        *,
        box: Box | None = None,
        max_memory: int | None = None,
        effort: float = EFFORT,
    ) -> Tensor:
        """Class ids ``(B, *size)`` of the largest logits, without ever holding the logits of the whole image.

        uint8 up to 256 classes, int16 up to 32768, int64 beyond. Arguments as of :meth:`decode`.
        """
        rows, columns, mode = self._request(features, size, mode, box, effort)
        if self.training or features.maps[0].is_meta:
            return as_labels(self.decode(features, size, mode, box=box, effort=effort))
        if mode == "adaptive":
            return adaptive_labels(self, features, rows, columns, effort=effort, max_memory=max_memory)
        pieces = (dense if mode == "dense" else resized)(self, features, rows, columns, max_memory)
        return assemble_labels(pieces, rows, columns)

    def query(
        self, features: Features, points: Tensor, mode: Mode = "auto", *, max_memory: int | None = None
    ) -> Tensor:
        """Logits (B, K, …) at ``points`` (B or 1, …, 2), (x, y) in [0, 1] over the image, any number of them.

        Args:
            features: from :meth:`encode`.
            points: where.
            mode: ``dense`` asks the network at the points themselves; ``resized`` interpolates between its answers at
                cell centres of the finest map, the outermost of which reach to its border; ``auto`` is ``resized``
                where that is what :meth:`decode` does by itself, and ``dense`` otherwise. An implicit function that
                was trained on its finest grid alone has learnt nothing between the cells (docs/resolution.md).
            max_memory: as in :meth:`decode`.

        Raises:
            ValueError: for points of another shape, or (looked at on the CPU alone) not finite.
            ConfigError: for an unknown mode, or ``adaptive``, which is for grids.
        """
        dense = self._asked_itself(mode)
        ask: Callable[[Tensor], Tensor]
        batch, cells = features.maps[0].shape[0], (features.maps[0].shape[-2], features.maps[0].shape[-1])
        if self.implicit is not None:
            at = partial(self.implicit.at, features.maps, max_memory=max_memory)
            ask = at if dense else partial(between_cells, at, cells)
            return answers_at(points, batch, lambda flat: ask(features.placed(flat)))
        if dense and self.point_values:
            ask, values = partial(self.answer_points, features), self.point_values
        else:
            ask, values = partial(sample_at, self.native(features)), 4 + 3 * len(self.classes)
        if not (self.training or in_one(features)):
            ask = self.pointwise(features, ask, values, max_memory).points
        return answers_at(points, batch, lambda flat: ask(features.placed(flat)))

    def answer_grid(self, features: Features, size: tuple[int, int] | None = None) -> Tensor:
        """Logits on the grid of the finest map for None, else ``decode(features, size, "dense")``."""
        return self.native(features) if size is None else self.decode(features, size, "dense")

    def forward(
        self,
        images: Tensor,
        size: tuple[int, int] | None = None,
        mode: Mode = "auto",
        *,
        box: Box | None = None,
        max_memory: int | None = None,
        effort: float = EFFORT,
    ) -> Tensor:
        """Images (B, in_channels, H, W) to logits ``(B, K, *size)``; see :meth:`decode`."""
        return self.decode(self.encode(images), size, mode, box=box, max_memory=max_memory, effort=effort)

    def _request(
        self, features: Features, size: tuple[int, int] | None, mode: Mode, box: Box | None, effort: float
    ) -> tuple[PixelAxis, PixelAxis, Mode]:
        """Rows and columns of the answer, and the mode that applies. Raises ConfigError."""
        _check_mode(mode)
        if not 0 <= effort <= 1:
            raise ConfigError(f"effort must be within 0 … 1, got {effort}")
        if size is None:
            size = features.size if box is None else _pixels(features.size, checked_box(box))
        rows, columns = features.axes(size, box)
        at_once = self.training or in_one(features)
        if mode == "adaptive" and (self.training or torch.compiler.is_compiling()):
            raise ConfigError('mode "adaptive" is for evaluation: call eval() first, or take "dense" or "resized"')
        if mode == "auto":
            mode = "resized" if self.auto_mode == "adaptive" and at_once else self.auto_mode
        if mode == "adaptive" and (len(self.classes) == 1 or features.maps[0].is_meta):  # nothing to doubt
            mode = "resized"
        return rows, columns, (mode if self.implicit is not None or self.point_values else "resized")

    def _asked_itself(self, mode: Mode) -> bool:
        """Whether a point is asked itself, and not the cells around it. Raises ConfigError."""
        _check_mode(mode)
        if mode == "adaptive":
            raise ConfigError('mode "adaptive" chooses among the pixels of a grid; at points take "dense" or "resized"')
        return mode == "dense" or (mode == "auto" and self.auto_mode != "resized")

    def optimized(self) -> Segmentor:
        """A copy for evaluation that gives the same answers faster: see :func:`featalign.models.folding.folded`.

        `featalign optimize` measures what that and half precision bring on a machine.
        """
        return folded(self).to(memory_format=torch.channels_last)

    def save_pretrained(self, folder: Path | str, *, card: ModelCard | None = None) -> None:
        """Write this network and a model card into ``folder``; see :func:`featalign.models.sharing.save_pretrained`."""
        save_pretrained(self, folder, card=card)

    def push_to_hub(self, name: str, *, private: bool = False, card: ModelCard | None = None) -> str:
        """Put this network and a model card on the hub; see :func:`featalign.models.sharing.push_to_hub`."""
        return push_to_hub(self, name, private=private, card=card)


def _check_mode(mode: Mode) -> None:
    """Raises ConfigError for what is no mode, with the nearest spelling."""
    if mode not in get_args(Mode):
        raise ConfigError(f'unknown mode "{mode}": {did_you_mean(mode, get_args(Mode))}')


def _pixels(size: tuple[int, int], box: Box) -> tuple[int, int]:
    """How many rows and columns of an image of ``size`` a box covers, at least one each."""
    left, top, right, bottom = box
    return max(1, round(size[0] * (bottom - top))), max(1, round(size[1] * (right - left)))
