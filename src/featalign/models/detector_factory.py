"""torchvision's detectors, and panoptic networks, on the pyramids of this library, by name.

images ──▶ FeaturePyramid ──▶ Faster R-CNN, Mask R-CNN, RetinaNet or FCOS ──▶ losses, or boxes, classes, scores, masks
                          └─▶ Panoptic FPN, Panoptic FCN or MaskFormer ─────▶ losses, or segments
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Literal, get_args

from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator

from featalign.align.fapn import Norm
from featalign.align.fuses import Fuse
from featalign.backbones import normalization_of
from featalign.errors import ConfigError, check_count, check_counts, check_flags, did_you_mean
from featalign.models.box_precision import with_single_boxes
from featalign.models.detector import Detector, normalized
from featalign.models.factory import as_classes
from featalign.models.feature_pyramid import PyramidFuse, pyramid
from featalign.models.maskformer import MaskFormer
from featalign.models.panoptic_fcn import PanopticFCN
from featalign.models.panoptic_fpn import PanopticFPN
from featalign.models.point_masks import draw_by_points
from featalign.models.resizing import ROI_SHIFT, Resizing
from featalign.spec import IGNORE_INDEX, Classes

DetectionName = Literal["faster_rcnn", "mask_rcnn", "retinanet", "fcos"]
PanopticName = Literal["panoptic_fpn", "panoptic_fcn", "maskformer"]
DetectorName = Literal[DetectionName, PanopticName]
_LEVELS = 5


def create_detector(
    name: DetectorName,
    *,
    classes: int | Sequence[str] | Classes,
    fuse: PyramidFuse | Fuse = "fapn",
    backbone: str = "resnet50",
    pretrained: bool | str = False,
    in_channels: int = 3,
    width: int = 256,
    norm: Norm | None = None,
    frozen_norms: bool = False,
    frozen_levels: int = 0,
    anchors: Sequence[int] | None = None,
    min_size: int | Sequence[int] | None = 800,
    max_size: int = 1333,
    detections: int = 100,
    point_head: bool = False,
    things: Sequence[int] | None = None,
) -> Detector:
    """Build a detector: ``create_detector("mask_rcnn", fuse="fapn", classes=80)``.

    Args:
        name: ``faster_rcnn``, ``mask_rcnn``, ``retinanet`` or ``fcos``; ``panoptic_fpn``, ``panoptic_fcn`` or
            ``maskformer``.
        classes: how many, their names, or names with colours; background is none of them. Panoptic networks take 255
            at most, the number that marks void pixels.
        fuse, backbone, pretrained, in_channels, width, norm, frozen_norms, frozen_levels: of the pyramid, see
            :func:`~featalign.models.pyramid`. Levels and top are those of the detector: strides 4 … 64, or 8 … 128 for
            ``retinanet`` and ``fcos``; 4 … 128 for ``panoptic_fcn``.
        anchors: side of the anchor at each of the five levels, in pixels of the resized image, finest first;
            torchvision's by default. ``panoptic_fcn`` and ``maskformer`` have none.
        min_size, max_size: images are resized so that the shorter side is ``min_size``, but the longer one at most
            ``max_size``. Of several sizes training draws one for each image, and the last is that of evaluation. None
            for ``min_size`` leaves images as they are.
        detections: most objects that are found in an image; of ``maskformer``, queries: most segments.
        point_head: whether PointRend draws the masks, see :mod:`featalign.models.point_masks`; of ``mask_rcnn`` and
            ``panoptic_fpn``.
        things: of panoptic networks: ids of the classes whose objects are told apart; the others are stuff.

    Raises:
        ConfigError: for an unknown name, or an option that a part cannot use or lacks.
    """
    check_count(max_size=max_size, detections=detections)
    check_flags(point_head=point_head)
    kind, sizes = _kind(name, width=width, point_head=point_head), _sizes(min_size)
    named = as_classes(classes)
    apart = _things(name, things, len(named))
    parts: dict[str, Any] = {
        "fuse": fuse,
        "backbone": backbone,
        "in_channels": in_channels,
        "width": width,
        "norm": norm,
        "frozen_norms": frozen_norms,
        "frozen_levels": frozen_levels,
    }
    levels = pyramid(pretrained=pretrained, **parts, **kind.levels)
    statistics = normalized(normalization_of(backbone, in_channels, pretrained=pretrained), in_channels)
    network = kind.build(
        levels,
        **_told(apart, len(named)),
        **_anchored(name, anchors),
        **{kind.detections: detections},
        **statistics,
    )
    network.transform = Resizing(sizes, max_size, mask_shift=0.0 if point_head else ROI_SHIFT, **statistics)
    if point_head:
        draw_by_points(network, classes=len(apart or named), stride=network.backbone.strides[0])
    with_single_boxes(network)
    stored = {
        "anchors": anchors and list(anchors),
        "min_size": sizes if isinstance(min_size, Sequence) else min_size,
        "max_size": max_size,
        "detections": detections,
        "point_head": point_head,
        "things": apart,
    }
    own = callable(fuse)  # a part of the user's own has no name to store
    config = {} if own else {"name": name, **parts, **stored}
    return Detector(network, named, config, in_channels=in_channels, things=apart)


def list_detectors() -> list[str]:
    """The names that :func:`create_detector` takes."""
    return list(_KINDS)


def detector_options() -> dict[str, Any]:
    """Every option of :func:`create_detector` with its default."""
    parameters = inspect.signature(create_detector).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in ("name", "classes")}


@dataclass(frozen=True)
class _Kind:
    """What a name stands for: the network, the pyramid it reads, and what it calls the options."""

    build: Callable[..., Any]
    levels: dict[str, Any] = field(default_factory=dict)
    anchors: str | None = "rpn_anchor_generator"
    octave: bool = False
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    detections: str = "box_detections_per_img"
    masks: bool = False
    groups: int = 1
    """Into how many the heads' group normalization parts the width."""


_ONE_STAGE: dict[str, Any] = {
    "levels": {"levels": (8, 16, 32), "top": "p6p7"},
    "anchors": "anchor_generator",
    "detections": "detections_per_img",
}
_KINDS: dict[str, _Kind] = {
    "faster_rcnn": _Kind(detection.FasterRCNN),
    "mask_rcnn": _Kind(detection.MaskRCNN, masks=True),
    "retinanet": _Kind(detection.RetinaNet, octave=True, **_ONE_STAGE),
    "fcos": _Kind(detection.FCOS, ratios=(1.0,), groups=32, **_ONE_STAGE),
    "panoptic_fpn": _Kind(PanopticFPN, masks=True),
    "panoptic_fcn": _Kind(PanopticFCN, {"top": "p6p7_from_p5"}, anchors=None, detections="detections"),
    "maskformer": _Kind(MaskFormer, levels={"top": "none"}, anchors=None, detections="queries"),
}


def _kind(name: str, *, width: int, point_head: bool) -> _Kind:
    """What ``name`` stands for. Raises ConfigError if there is none, or it cannot have these."""
    if name not in _KINDS:
        raise ConfigError(f'unknown detector "{name}": {did_you_mean(name, list(_KINDS))}')
    kind = _KINDS[name]
    if point_head and not kind.masks:
        masked = " and ".join(other for other, its in _KINDS.items() if its.masks)
        raise ConfigError(f'"{name}" has no masks for a point_head to draw; {masked} have')
    check_count(width=width)
    if width % kind.groups or width == kind.groups > 1:  # a group of one channel knows nothing of a map of one cell
        raise ConfigError(f'"{name}" needs a width of {2 * kind.groups}, {3 * kind.groups}, …, got {width}')
    return kind


def _sizes(min_size: int | Sequence[int] | None) -> list[int] | None:
    """Those of which training draws one. Raises ConfigError."""
    if min_size is None:
        return None
    sizes = [min_size] if isinstance(min_size, int) else min_size
    check_counts(min_size=sizes)
    return list(sizes)


def _things(name: str, things: Sequence[int] | None, classes: int) -> list[int] | None:
    """``things`` in order, None for networks that tell the objects of all classes apart."""
    panoptic = get_args(PanopticName)
    if name not in panoptic:
        if things is not None:
            raise ConfigError(f'"{name}" tells the objects of all classes apart; things are of {", ".join(panoptic)}')
        return None
    if things is None:
        raise ConfigError(f'"{name}" needs things: the ids of the classes whose objects are told apart')
    if classes > IGNORE_INDEX:
        raise ConfigError(
            f'"{name}" tells {IGNORE_INDEX} classes apart at most, as {IGNORE_INDEX} marks void pixels; got {classes}'
        )
    row = isinstance(things, Sequence) and all(isinstance(label, Integral) for label in things)
    if not row or len(set(things)) != len(things) or not all(0 <= label < classes for label in things):
        raise ConfigError(f"things must be different class ids in 0 … {classes - 1}, got {things!r}")
    return sorted(things)


def _told(things: Sequence[int] | None, classes: int) -> dict[str, Any]:
    """What a network is told of its classes."""
    if things is None:
        return {"num_classes": classes + 1}
    return {"things": things, "stuff": [label for label in range(classes) if label not in things]}


def _anchored(name: str, anchors: Sequence[int] | None) -> dict[str, AnchorGenerator]:
    """Of each level one size in the network's shapes, or three sizes to the octave, as RetinaNet has them."""
    if anchors is None:
        return {}
    kind = _KINDS[name]
    if kind.anchors is None:
        raise ConfigError(f'"{name}" looks for objects without anchors; leave them out')
    check_counts(anchors=anchors)
    if len(anchors) != _LEVELS:
        raise ConfigError(f"anchors must be five sizes in pixels, finest level first, got {tuple(anchors)}")
    thirds = (0, 1, 2) if kind.octave else (0,)
    sizes = tuple(tuple(int(side * 2 ** (third / 3)) for third in thirds) for side in anchors)
    return {kind.anchors: AnchorGenerator(sizes, (kind.ratios,) * _LEVELS)}
