"""What a segmentation network is made of: it encodes images once, and has answers at the cells of its finest map.

How an answer on any other grid comes of that is :mod:`~featalign.models.decoding`'s business, and who asks for one
calls a :class:`~featalign.models.Segmentor`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.align import ImplicitFunction
from featalign.align.budget import Budget
from featalign.models.asking import Answers, Pointwise
from featalign.models.auxiliary import AuxiliaryHead
from featalign.ops import Box, PixelAxis, pixel_axes, resize_at_once
from featalign.spec import Classes, Normalization

Mode = Literal["auto", "dense", "resized", "adaptive"]


class Features(NamedTuple):
    """What :meth:`SegmentationNetwork.encode` returns.

    ``maps``: (B, C_i, h_i, w_i), finest first; ``strides``: their pitch in input pixels; ``size``: (height, width) of
    the input; ``covered``: of what the maps show, the input at its upper left; ``deep``: the backbone map that the
    auxiliary head reads, kept in training only.
    """

    maps: list[Tensor]
    strides: tuple[int, ...]
    size: tuple[int, int]
    covered: tuple[int, int]
    deep: Tensor | None = None

    def axes(self, size: tuple[int, int], box: Box | None = None) -> tuple[PixelAxis, PixelAxis]:
        """Rows and columns of a grid over the image or a box in it, as they lie on the maps. Raises ConfigError."""
        rows, columns = pixel_axes(size, box)
        return rows.within(self.size[0], self.covered[0]), columns.within(self.size[1], self.covered[1])

    def placed(self, points: Tensor) -> Tensor:
        """Points (…, 2), (x, y) in [0, 1] of the image, as they lie on the maps."""
        if self.covered == self.size:
            return points
        points = points.to(torch.promote_types(points.dtype, torch.float32))
        return points * points.new_tensor([self.size[1] / self.covered[1], self.size[0] / self.covered[0]])


class SegmentationNetwork(nn.Module, ABC):
    """Base of :class:`~featalign.models.Segmentor`, which asks it at any size.

    Images are float (B, in_channels, H, W), normalized with :attr:`normalization`, of any size from one pixel up.

    Args:
        classes, in_channels, strides, auto_mode: see below.
        coarsest: the largest pitch of any map within the network, in input pixels; default that of ``strides``.
        align_corners: how the ``resized`` mode resizes; published code that does is shown images as they are.

    Attributes:
        config: the keyword arguments of ``create_model`` that build this network again.
        classes: names and colours of the K classes.
        strides: pitch of the maps that :meth:`encode` gives, in input pixels.
        fill: :meth:`encode` fills images up to multiples of it, so that the cells of every map have its stride for
            their size; 1 leaves them as they are.
        auto_mode: what ``mode="auto"`` means for this network; ``adaptive`` where nothing else rules it out, see
            :meth:`~featalign.models.Segmentor.decode`.
        auxiliary: head for training, or None.
        folded: whether batch norms were folded into convolutions, for evaluation only; see
            :meth:`~featalign.models.Segmentor.optimized`.
        point_values: how many numbers :meth:`answer_points` holds per point; 0 for networks without it.
    """

    config: dict[str, Any]
    auxiliary: AuxiliaryHead | None
    folded: bool = False
    point_values: int = 0

    def __init__(
        self,
        classes: Classes,
        *,
        in_channels: int,
        strides: tuple[int, ...],
        auto_mode: Mode,
        coarsest: int | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.strides = strides
        self.classes = classes
        self.in_channels = in_channels
        self.normalization = Normalization.for_channels(in_channels)
        self.auto_mode = auto_mode
        self.align_corners = align_corners
        self.fill = 1 if align_corners else coarsest or max(strides)
        self.config = {}
        self.auxiliary = None

    def encode(self, images: Tensor) -> Features:
        """Everything that does not depend on where the answer is wanted.

        Images whose sides are no multiples of :attr:`fill` are filled up with copies of their border pixels at the
        right and below (docs/resolution.md). Raises ValueError for what are no images.
        """
        self.check_images(images)
        size = (images.shape[-2], images.shape[-1])
        covered = (-(-size[0] // self.fill) * self.fill, -(-size[1] // self.fill) * self.fill)
        if torch.compiler.is_exporting() or covered != size:  # sizes may be symbols, which are not to be compared
            images = F.pad(images, (0, covered[1] - size[1], 0, covered[0] - size[0]), mode="replicate")
        maps, deep = self.maps(images)
        return Features(maps, self.strides, size, covered, deep if self.training and self.supervised else None)

    @abstractmethod
    def maps(self, images: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Filled images to the maps of :class:`Features`, and what the auxiliary head reads, or its logits if there is
        no such head."""

    @abstractmethod
    def native(self, features: Features) -> Tensor:
        """Logits (B, K, h_0, w_0) on the grid of the finest map."""

    @property
    def supervised(self) -> bool:
        """Whether there are auxiliary logits in training."""
        return self.auxiliary is not None

    @property
    def implicit(self) -> ImplicitFunction | None:
        """The function that answers between the cells of the finest grid, for networks that have one."""
        return None

    def answer_points(self, features: Features, points: Tensor) -> Tensor:
        """What a network with :attr:`point_values` but no implicit function answers at points: (B, K, N)."""
        raise NotImplementedError

    def answers(self, features: Features, max_memory: int | Budget | None = None) -> Answers | None:
        """The network's own answers between the cells of the finest grid; None where its logits are interpolated."""
        implicit = self.implicit
        if implicit is not None and implicit.foldable:
            return implicit.stream(features.maps, max_memory=max_memory)
        if implicit is not None:
            ask = partial(implicit.at, features.maps)
            return self.pointwise(features, ask, 2 * sum((*implicit.level_channels, *implicit.hidden)), max_memory)
        if not self.point_values:
            return None
        return self.pointwise(features, partial(self.answer_points, features), self.point_values, max_memory)

    def pointwise(
        self, features: Features, ask: Callable[[Tensor], Tensor], values: int, max_memory: int | Budget | None
    ) -> Pointwise:
        """``ask``, which holds ``values`` numbers per point and image, in chunks that fit into the memory."""
        batch, device = features.maps[0].shape[0], features.maps[0].device
        return Pointwise(ask, device=device, values=batch * values, max_memory=max_memory)

    def auxiliary_logits(self, features: Features, size: tuple[int, int] | None = None) -> Tensor | None:
        """Logits (B, K, h, w) of the auxiliary head, on its own map or at ``size`` (height, width) pixels of the image.

        In single precision at least if they are resized; None where there is no head, or no training.
        """
        if features.deep is None:
            return None
        logits = features.deep if self.auxiliary is None else self.auxiliary(features.deep)
        if size is None:
            return logits
        return resize_at_once(logits.to(torch.promote_types(logits.dtype, torch.float32)), *features.axes(size))

    def check_images(self, images: Tensor) -> None:
        """Refuse what no layer could explain. Raises ValueError."""
        if images.ndim != 4 or images.shape[1] != self.in_channels or not images.is_floating_point():
            raise ValueError(
                f"expected normalized float images (B, {self.in_channels}, H, W), "
                f"got {str(images.dtype).removeprefix('torch.')} of shape {tuple(images.shape)}"
            )
        if 0 in images.shape:
            raise ValueError(f"expected at least one image of at least one pixel, got shape {tuple(images.shape)}")
