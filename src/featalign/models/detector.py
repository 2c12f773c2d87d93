"""torchvision's detectors, and panoptic networks, on the pyramids of this library, by name.

images ──▶ FeaturePyramid ──▶ Faster R-CNN, Mask R-CNN, RetinaNet or FCOS ──▶ losses, or boxes, classes, scores, masks
                          └─▶ Panoptic FPN ─────────────────────────────────▶ losses, or segments
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from featalign.align.fapn import Norm
from featalign.align.fuses import Fuse
from featalign.errors import ConfigError, did_you_mean
from featalign.models.factory import as_classes
from featalign.models.feature_pyramid import FeaturePyramid, PyramidFuse, pyramid
from featalign.models.panoptic_fpn import PanopticFPN
from featalign.models.point_masks import draw_by_points
from featalign.spec import Classes, Normalization

DetectorName = Literal["faster_rcnn", "mask_rcnn", "retinanet", "fcos", "panoptic_fpn"]
_TWO_STAGES = ("faster_rcnn", "mask_rcnn", "panoptic_fpn")
_PANOPTIC = ("panoptic_fpn",)
_POINT_HEADS = ("mask_rcnn", "panoptic_fpn")
_LEVELS = 5


class Detector(nn.Module):
    """A detector, or a panoptic network, with what its images and its answers mean.

    Attributes:
        network: the module itself, torchvision's or made like one.
        config: the keyword arguments of :func:`create_detector` that build it again.
        classes: names and colours of the K classes; 0 … K-1 here, 1 … K in what ``network`` says of boxes.
        things: ids of the classes whose objects are told apart; all of them, unless the network is panoptic.
        normalization: of the images; ``network`` applies it.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: Classes,
        config: dict[str, Any],
        *,
        in_channels: int,
        things: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.classes = classes
        self.things = tuple(range(len(classes)) if things is None else things)
        self.config = config
        self.in_channels = in_channels
        self.normalization = Normalization.for_channels(in_channels)

    @property
    def backbone(self) -> nn.Module:
        """What may learn at a rate of its own, or stay frozen: the network below the pyramid."""
        found = self.network.get_submodule("backbone")
        return found.backbone if isinstance(found, FeaturePyramid) else found

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None) -> Any:
        """In training, losses by name; in evaluation, a dictionary for each image.

        Of detectors: ``boxes``, ``labels``, ``scores`` (, ``masks``) as torchvision has them, with labels from 1. Of
        panoptic networks: ``segments``, int64 (H, W), numbered 1 … S, 0 for void; ``segment_labels``, class ids from 0,
        int64 (S); ``segment_scores``, float32 (S).

        Args:
            images: uint8 (C, H, W) each, of any sizes.
            targets: in training, one for each image, see :func:`featalign.data.objects.detection_target` and
                :func:`~featalign.data.objects.panoptic_target`.

        Raises:
            ValueError: if an image is not such.
        """
        for image in images:
            if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != self.in_channels:
                raise ValueError(
                    f"got an image {image.dtype} {tuple(image.shape)}; expected uint8 ({self.in_channels}, H, W)"
                )
        return self.network([image.as_subclass(Tensor).float() / 255 for image in images], targets)


class SameSize(GeneralizedRCNNTransform):
    """torchvision's way from images to a batch, which leaves their size alone (its own always resizes in evaluation).

    Args:
        channels: of the images, which are normalized as every image here.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(min_size=1, max_size=1, **_normalized(channels))

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        return image, target


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
    min_size: int | None = 800,
    max_size: int = 1333,
    detections: int = 100,
    point_head: bool = False,
    things: Sequence[int] | None = None,
) -> Detector:
    """Build a detector: ``create_detector("mask_rcnn", fuse="fapn", classes=80)``.

    Args:
        name: ``faster_rcnn``, ``mask_rcnn``, ``retinanet``, ``fcos`` or ``panoptic_fpn``.
        classes: how many, their names, or names with colours; background is none of them.
        fuse, backbone, pretrained, in_channels, width, norm, frozen_norms, frozen_levels: of the pyramid, see
            :func:`~featalign.models.pyramid`. Levels and top are those of the detector: strides 4 … 64, or 8 … 128 for
            ``retinanet`` and ``fcos``.
        anchors: side of the anchor at each of the five levels, in pixels of the resized image, finest first;
            torchvision's by default.
        min_size, max_size: images are resized so that the shorter side is ``min_size``, but the longer one at most
            ``max_size``. None for ``min_size`` leaves them as they are.
        detections: most objects that are found in an image.
        point_head: whether PointRend draws the masks, see :mod:`featalign.models.point_masks`; of ``mask_rcnn`` and
            ``panoptic_fpn``.
        things: of panoptic networks: ids of the classes whose objects are told apart; the others are stuff.

    Raises:
        ConfigError: for an unknown name, or an option that a part cannot use or lacks.
    """
    if name not in get_args(DetectorName):
        raise ConfigError(f'unknown detector "{name}": {did_you_mean(name, get_args(DetectorName))}')
    if anchors is not None and (len(anchors) != _LEVELS or min(anchors) < 1):
        raise ConfigError(f"anchors must be five sizes in pixels, finest level first, got {tuple(anchors)}")
    if point_head and name not in _POINT_HEADS:
        raise ConfigError(f'"{name}" has no masks for a point_head to draw; {" and ".join(_POINT_HEADS)} have')
    kinds = as_classes(classes)
    apart = _things(name, things, len(kinds))
    parts: dict[str, Any] = {
        "fuse": fuse,
        "backbone": backbone,
        "in_channels": in_channels,
        "width": width,
        "norm": norm,
        "frozen_norms": frozen_norms,
        "frozen_levels": frozen_levels,
    }
    levels: dict[str, Any] = {} if name in _TWO_STAGES else {"levels": (8, 16, 32), "top": "p6p7"}
    network = _BUILDERS[name](
        pyramid(pretrained=pretrained, **parts, **levels),
        **_told(apart, len(kinds)),
        min_size=min_size or max_size,
        max_size=max_size,
        **_anchored(name, anchors),
        **{"box_detections_per_img" if name in _TWO_STAGES else "detections_per_img": detections},
        **_normalized(in_channels),
    )
    if min_size is None:
        network.transform = SameSize(in_channels)
    if point_head:
        draw_by_points(network, classes=len(apart or kinds), stride=network.backbone.strides[0])
    if callable(fuse):  # a part of the user's own has no name to store
        return Detector(network, kinds, {}, in_channels=in_channels, things=apart)
    stored = {
        "anchors": anchors and list(anchors),
        "min_size": min_size,
        "max_size": max_size,
        "detections": detections,
        "point_head": point_head,
        "things": apart,
    }
    return Detector(network, kinds, {"name": name, **parts, **stored}, in_channels=in_channels, things=apart)


def list_detectors() -> list[str]:
    """The names that :func:`create_detector` takes."""
    return list(get_args(DetectorName))


def detector_options() -> dict[str, Any]:
    """Every option of :func:`create_detector` with its default."""
    parameters = inspect.signature(create_detector).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in ("name", "classes")}


_BUILDERS: dict[DetectorName, Callable[..., Any]] = {
    "faster_rcnn": detection.FasterRCNN,
    "mask_rcnn": detection.MaskRCNN,
    "retinanet": detection.RetinaNet,
    "fcos": detection.FCOS,
    "panoptic_fpn": PanopticFPN,
}


def _things(name: DetectorName, things: Sequence[int] | None, classes: int) -> list[int] | None:
    """``things`` in order, None for networks that tell the objects of all classes apart."""
    if name not in _PANOPTIC:
        if things is not None:
            raise ConfigError(f'"{name}" tells the objects of all classes apart; things are of {", ".join(_PANOPTIC)}')
        return None
    if things is None:
        raise ConfigError(f'"{name}" needs things: the ids of the classes whose objects are told apart')
    if len(set(things)) != len(things) or not all(0 <= label < classes for label in things):
        raise ConfigError(f"things must be different class ids in 0 … {classes - 1}, got {list(things)}")
    return sorted(things)


def _told(things: Sequence[int] | None, classes: int) -> dict[str, Any]:
    """What a network is told of its classes."""
    if things is None:
        return {"num_classes": classes + 1}
    return {"things": things, "stuff": [label for label in range(classes) if label not in things]}


def _anchored(name: DetectorName, anchors: Sequence[int] | None) -> dict[str, AnchorGenerator]:
    """Of each level: one size in three shapes; three sizes in three shapes (RetinaNet); one square (FCOS)."""
    if anchors is None:
        return {}
    if name == "fcos":
        return {"anchor_generator": AnchorGenerator(tuple((side,) for side in anchors), ((1.0,),) * _LEVELS)}
    ratios = ((0.5, 1.0, 2.0),) * _LEVELS
    if name == "retinanet":
        octave = tuple((side, int(side * 2 ** (1 / 3)), int(side * 2 ** (2 / 3))) for side in anchors)
        return {"anchor_generator": AnchorGenerator(octave, ratios)}
    return {"rpn_anchor_generator": AnchorGenerator(tuple((side,) for side in anchors), ratios)}


def _normalized(channels: int) -> dict[str, list[float]]:
    """What torchvision subtracts and divides by, one value for each channel."""
    normalization = Normalization.for_channels(channels)
    values = {"image_mean": normalization.mean, "image_std": normalization.std}
    return {name: list(value) * (channels if len(value) == 1 else 1) for name, value in values.items()}
