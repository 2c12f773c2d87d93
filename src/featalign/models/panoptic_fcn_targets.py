"""What Panoptic FCN learns from a scene: masks at stride 4, and at each stage where objects and regions are
(CVPR 2021, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.spec import IGNORE_INDEX

Size = tuple[int, int]
SCALES = ((1.0, 64.0), (32.0, 128.0), (64.0, 256.0), (128.0, 512.0), (256.0, math.inf))
"""Of the objects of each stage, P3 … P7: the square root of the box, in pixels of the resized image, ends included."""

_OVERLAP = 0.7  # of the CornerNet radius
_REACH = 0.1  # least share of a cell that an object covers for its kernel to be learnt there
_HALF = 0.5  # least share of a cell that a class covers for the cell to be in its region


@dataclass(frozen=True)
class StageTarget:
    """At one stage of h x w cells.

    ``centres``: (T, h, w) in [0, 1], 1 at centres of objects. ``counted``: bool (T, h, w), False in crowds, of which
    nobody says where objects are. ``regions``: (1 + S, h, w), share of each cell that the class covers, 0 below 1/2.
    ``objects``: int64 (n), which of the scene's objects are found here; ``near``: bool (n, h, w), cells on each.
    """

    centres: Tensor
    counted: Tensor
    regions: Tensor
    objects: Tensor
    near: Tensor


@dataclass(frozen=True)
class SceneTarget:
    """An image on its canvas.

    ``masks``: (N, H, W) in [0, 1], share of each cell of the encoded map that the object covers. ``channels``: int64
    (N), of the things, from 0. ``stuff``: (1 + S, H, W), the same of "a thing" and each class of stuff.
    """

    masks: Tensor
    channels: Tensor
    stuff: Tensor
    stages: list[StageTarget]


@dataclass(frozen=True)
class Frame:
    """Sizes (rows, columns): of the image after resizing, of the batch's canvas that it is the top left corner of, of
    the encoded map and of each stage; both of these cover the canvas."""

    shown: Size
    canvas: Size
    encoded: Size
    stages: Sequence[Size]


def scene_target(target: dict[str, Tensor], frame: Frame, stuff_channels: Tensor, things: int) -> SceneTarget:
    """The target of one image.

    Args:
        target: of :func:`~featalign.models.panoptic_parts.checked_targets`, masks and classes at the image's own size,
            ``boxes`` after resizing.
        frame: the sizes.
        stuff_channels: of each class id, int64 (K); 0 for things.
        things: how many classes.
    """
    semantic, channels = target["semantic"], target["labels"] - 1
    masks = on_canvas(target["masks"].float(), frame)
    stuff = _stuff(semantic, stuff_channels, frame)
    crowds = _crowds(target, stuff_channels, things, frame)
    centres = _centres(target["masks"], frame)
    stages = []
    for size, (least, most) in zip(frame.stages, SCALES, strict=True):
        sides = target["boxes"][:, 2:] - target["boxes"][:, :2]
        scale = sides.prod(1).sqrt()
        here = ((scale >= least) & (scale <= most)).nonzero()[:, 0]
        share = torch.tensor([part / whole for part, whole in zip(size, frame.canvas, strict=True)]).to(centres)
        cells = (centres[here] * share).long().minimum(torch.tensor(size, device=centres.device) - 1)
        heat = heatmap(cells, sides[here].flip(1) * share, channels[here], things, size)
        near = _at(masks[here], size) > _REACH
        near[torch.arange(len(here), device=near.device), cells[:, 0], cells[:, 1]] = True
        regions = _at(stuff, size)
        counted = (heat > 0) | (_at(crowds, size) == 0)
        stages.append(StageTarget(heat, counted, regions.where(regions >= _HALF, 0), here, near))
    return SceneTarget(masks, channels, stuff, stages)


def on_canvas(maps: Tensor, frame: Frame) -> Tensor:
    """Maps (N, h, w) of the image's own size at the cells of the encoded map: means, 0 where the image is not."""
    parts = zip(frame.shown, frame.canvas, frame.encoded, strict=True)
    height, width = (max(1, round(part * cells / whole)) for part, whole, cells in parts)
    rows, columns = frame.encoded[0] - height, frame.encoded[1] - width
    return F.pad(_at(maps, (height, width)), (0, columns, 0, rows))


def heatmap(cells: Tensor, sides: Tensor, channels: Tensor, things: int, size: Size) -> Tensor:
    """(things, *size), 1 at each centre and Gaussian around it, of neighbours the larger.

    The radius is CornerNet's (ECCV 2018) as published code computes it, for boxes that overlap by 0.7; a third of the
    diameter is the deviation, and beyond the radius there is nothing.

    Args:
        cells: of the centres, int64 (N, 2), row and column.
        sides: of the boxes in cells, (N, 2), height and width.
        channels: int64 (N).
    """
    heat = torch.zeros(things, *size, device=sides.device)
    radii = radius(sides).floor()
    away = [
        (torch.arange(count, device=sides.device) - cells[:, axis, None]).float() for axis, count in enumerate(size)
    ]
    for index, channel in enumerate(channels.tolist()):
        rows, columns, reach = away[0][index][:, None], away[1][index], radii[index]
        peak = (-(rows**2 + columns**2) / (2 * ((2 * reach + 1) / 3) ** 2)).exp()
        inside = (rows.abs() <= reach) & (columns.abs() <= reach)
        heat[channel] = heat[channel].maximum(peak * inside)
    return heat


def radius(sides: Tensor) -> Tensor:
    """CornerNet's radius of boxes (N, 2), the root that published code takes; (N)."""
    whole = sides.sum(1)
    ratio = 4 * sides.prod(1) / whole.clamp(min=1e-6) ** 2
    return _OVERLAP * whole * ((1 + (1 - _OVERLAP) / _OVERLAP * ratio).sqrt() - 1)


def _centres(masks: Tensor, frame: Frame) -> Tensor:
    """Centres of mass, (N, 2), row and column in pixels of the canvas."""
    area = masks.flatten(1).sum(1).clamp(min=1)
    middles = []
    for axis, (part, whole) in enumerate(zip(frame.shown, masks.shape[1:], strict=True)):
        along = (torch.arange(whole, device=masks.device) + 0.5) * (part / whole)
        middles.append((masks.sum(2 - axis) * along).sum(1) / area)
    return torch.stack(middles, 1)


def _stuff(semantic: Tensor, channels: Tensor, frame: Frame) -> Tensor:
    """(1 + S, *encoded); void is none of them."""
    void = semantic == IGNORE_INDEX
    labels = channels[semantic.masked_fill(void, 0)].masked_fill(void, -1)
    present = labels[~void].unique()
    stuff = torch.zeros(int(channels.max()) + 1, *frame.encoded, device=semantic.device)
    stuff[present] = on_canvas((labels == present[:, None, None]).float(), frame)
    return stuff


def _crowds(target: dict[str, Tensor], stuff_channels: Tensor, things: int, frame: Frame) -> Tensor:
    """Things that are none of the objects, by class: (things, *encoded)."""
    semantic = target["semantic"]
    rest = (semantic != IGNORE_INDEX) & ~target["masks"].bool().any(0)
    present = semantic[rest].unique().tolist()
    crowds = torch.zeros(things, *frame.encoded, device=semantic.device)
    for channel, label in enumerate((stuff_channels == 0).nonzero()[:, 0].tolist()):
        if label in present:
            crowds[channel] = on_canvas((rest & (semantic == label)).float()[None], frame)[0]
    return crowds


def _at(maps: Tensor, size: Size) -> Tensor:
    """(N, h, w) at another size, every value weighed."""
    if not len(maps):
        return maps.new_zeros(0, *size)
    return F.interpolate(maps[None], size=size, mode="bilinear", antialias=True)[0]
