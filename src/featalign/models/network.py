"""What a segmentation network is made of: it encodes images once, and has answers at the cells of its finest map.

How an answer on any other grid comes of that is :mod:`~featalign.models.decoding`'s business, and who asks for one
calls a :class:`~featalign.models.Segmentor`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from featalign.align import ImplicitFunction
from featalign.align.budget import Budget
from featalign.models.asking import Answers, Pointwise
from featalign.models.auxiliary import AuxiliaryHead
from featalign.spec import Classes, Normalization

Mode = Literal["auto", "dense", "resized", "adaptive"]


class Features(NamedTuple):
    """What :meth:`SegmentationNetwork.encode` returns.

    ``maps``: (B, C_i, h_i, w_i), finest first; ``strides``: their pitch in input pixels; ``size``: (height, width) of
    the input; ``deep``: the backbone map that the auxiliary head reads, kept in training only.
    """

    maps: list[Tensor]
    strides: tuple[int, ...]
    size: tuple[int, int]
    deep: Tensor | None = None


class SegmentationNetwork(nn.Module, ABC):
    """Base of :class:`~featalign.models.Segmentor`, which asks it at any size.

    Images are float (B, in_channels, H, W), normalized with :attr:`normalization`, of any size from one pixel up.

    Attributes:
        config: the keyword arguments of ``create_model`` that build this network again.
        classes: names and colours of the K classes.
        strides: pitch of the maps that :meth:`encode` gives, in input pixels.
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
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.strides = strides
        self.classes = classes
        self.in_channels = in_channels
        self.normalization = Normalization.for_channels(in_channels)
        self.auto_mode = auto_mode
        self.align_corners = align_corners
        self.config = {}
        self.auxiliary = None

    @abstractmethod
    def encode(self, images: Tensor) -> Features:
        """Everything that does not depend on where the answer is wanted."""

    @abstractmethod
    def native(self, features: Features) -> Tensor:
        """Logits (B, K, h_0, w_0) on the grid of the finest map."""

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

    def auxiliary_logits(self, features: Features) -> Tensor | None:
        """Logits (B, K, h, w) of the auxiliary head on its own map, or None where there is no head or no training."""
        if self.auxiliary is None or features.deep is None:
            return None
        return self.auxiliary(features.deep)

    def check_images(self, images: Tensor) -> None:
        """Refuse what no layer could explain. Raises ValueError."""
        if images.ndim != 4 or images.shape[1] != self.in_channels or not images.is_floating_point():
            raise ValueError(
                f"expected normalized float images (B, {self.in_channels}, H, W), "
                f"got {str(images.dtype).removeprefix('torch.')} of shape {tuple(images.shape)}"
            )
        if 0 in images.shape:
            raise ValueError(f"expected at least one image of at least one pixel, got shape {tuple(images.shape)}")
