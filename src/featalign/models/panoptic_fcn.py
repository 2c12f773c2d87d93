"""Panoptic FCN: every object and every class of stuff is a kernel, and its mask one product (Fully Convolutional
Networks for Panoptic Segmentation, CVPR 2021).

images ─▶ FeaturePyramid ─┬─ P3 … P7 ─▶ positions, kernels ─▶ one kernel each ─┐
                          └─ P2 … P5 ─▶ encoded map at stride 4 ───────────────┴─▶ x ─▶ masks ─▶ merge ─▶ segments
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.errors import ConfigError
from featalign.models.canvas import own_pixels
from featalign.models.feature_pyramid import FeaturePyramid
from featalign.models.panoptic_fcn_fusion import Found, fuse_classes, fuse_similar, joined, peaks, region_kernels
from featalign.models.panoptic_fcn_heads import NORM_GROUPS, FeatureEncoder, KernelHead, PositionHead, kernel_embedding
from featalign.models.panoptic_fcn_losses import chosen_positions, dice, position_losses
from featalign.models.panoptic_fcn_targets import Frame, SceneTarget, scene_target
from featalign.models.panoptic_merging import Merging, merge
from featalign.models.panoptic_parts import channel_tables, checked_targets, require_both
from featalign.models.resizing import Resizing

LEVELS = ("0", "1", "2", "3")
STAGES = ("1", "2", "3", "p6", "p7")
_WINDOWS = (3, 3, 3, 5, 5)  # around a centre, in cells of each stage
_LEAST_WIDTH = 64  # group normalization of one channel a group knows nothing of a map of one cell


@dataclass(frozen=True)
class Finding:
    """What counts as found, as published for COCO.

    ``centre``, ``region``: least scores of an object and of a region at a stage. ``similarity``: cosine from which
    kernels of one class are one object. ``mask``: a pixel of an object has more. ``score``: the least of an object,
    its centre's times the mean in its mask, is :attr:`Merging.score`, 0.2 here.
    """

    centre: float = 0.05
    region: float = 0.05
    similarity: float = 0.9
    mask: float = 0.4


class Seen(NamedTuple):
    """What the heads say: of each stage the logits (B, T, h, w) and (B, 1 + S, h, w) and kernels (B, C, h, w); and the
    encoded map (B, E, H, W)."""

    centres: list[Tensor]
    regions: list[Tensor]
    kernels: list[Tensor]
    encoded: Tensor


class PanopticFCN(nn.Module):
    """Images, float (C, H, W) in [0, 1] of any sizes, to losses in training and to segments in evaluation.

    Targets are those of :func:`~featalign.data.objects.panoptic_target`. A crowd counts as "a thing" among the regions;
    nothing is learnt of centres there. Void is no region's.

    Args:
        backbone: the pyramid that all heads read, with two maps beyond its levels (``top="p6p7_from_p5"``).
        things: ids of the classes whose objects are told apart, ascending.
        stuff: ids of all other classes, ascending.
        image_mean, image_std: of the images, as of torchvision's detectors.
        detections: most objects of an image; half as many at a stage.
        channels: of the encoded map and of a kernel.
        position_weight, mask_weight: of the losses, lambda_pos and lambda_seg in section 3.
        finding: what counts as found.
        merging: how things and stuff become one.

    Raises:
        ConfigError: without things, without stuff, or for a width below 64 or no multiple of 32.
    """

    def __init__(
        self,
        backbone: FeaturePyramid,
        *,
        things: Sequence[int],
        stuff: Sequence[int],
        image_mean: Sequence[float],
        image_std: Sequence[float],
        detections: int = 100,
        channels: int = 64,
        position_weight: float = 1.0,
        mask_weight: float = 3.0,
        finding: Finding | None = None,
        merging: Merging | None = None,
    ) -> None:
        require_both("panoptic_fcn", things, stuff)
        width = backbone.out_channels
        if width < _LEAST_WIDTH or width % NORM_GROUPS:
            raise ConfigError(
                f"panoptic_fcn needs a width of {_LEAST_WIDTH}, {_LEAST_WIDTH + NORM_GROUPS}, …, got {width}"
            )
        super().__init__()
        self.transform = Resizing(image_mean=image_mean, image_std=image_std)
        self.backbone = backbone
        self.positions = PositionHead(width, len(things), len(stuff))
        self.kernels = KernelHead(width)
        self.encoder = FeatureEncoder(len(LEVELS), width, channels)
        self.thing_embedding, self.stuff_embedding = (kernel_embedding(width, channels) for _ in range(2))
        self.detections = detections
        self.position_weight, self.mask_weight = position_weight, mask_weight
        self.finding = finding or Finding()
        self.merging = merging or Merging(score=0.2)
        for name, ids in (("thing", things), ("stuff", stuff)):  # channel 0 of the stuff is "a thing"
            own, table = channel_tables(ids, len(things) + len(stuff))
            self.register_buffer(f"{name}_ids", own, persistent=False)
            self.register_buffer(f"{name}_channels", table, persistent=False)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """A dictionary of losses, or one for each image, see :class:`~featalign.models.Detector`."""
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        learnt = checked_targets(targets, sizes, self.get_buffer("thing_channels")) if self.training else None
        boxes = None if learnt is None else [{"boxes": target["boxes"]} for target in learnt]
        batch, boxes = self.transform(images, boxes)
        seen = self._look(batch.tensors)
        canvas = (batch.tensors.shape[-2], batch.tensors.shape[-1])
        frames = [
            Frame(shown, canvas, _size(seen.encoded), [_size(m) for m in seen.kernels]) for shown in batch.image_sizes
        ]
        if learnt is None:
            return [self._answer(seen, index, *pair) for index, pair in enumerate(zip(frames, sizes, strict=True))]
        assert boxes is not None
        scenes = [
            scene_target(target | box, frame, self.get_buffer("stuff_channels"), len(self.get_buffer("thing_ids")) - 1)
            for target, box, frame in zip(learnt, boxes, frames, strict=True)
        ]
        found, marked = position_losses(seen.centres, seen.regions, scenes)
        drawn, filled = self._mask_losses(seen, scenes)
        return {
            "loss_centres": self.position_weight * found,
            "loss_regions": self.position_weight * marked,
            "loss_things": self.mask_weight * drawn,
            "loss_stuff": self.mask_weight * filled,
        }

    def _look(self, images: Tensor) -> Seen:
        features = self.backbone(images)
        stages = [features[name] for name in STAGES]
        centres, regions = zip(*(self.positions(stage) for stage in stages), strict=True)
        encoded = self.encoder([features[name] for name in LEVELS])
        return Seen(list(centres), list(regions), [self.kernels(stage) for stage in stages], encoded)

    def _mask_losses(self, seen: Seen, scenes: Sequence[SceneTarget]) -> tuple[Tensor, Tensor]:
        """Of things and of stuff, means over objects and over regions at every stage of the batch."""
        things, stuff = [], []
        for index, scene in enumerate(scenes):
            encoded = seen.encoded[index].flatten(1)
            for centres, kernels, target in zip(seen.centres, seen.kernels, scene.stages, strict=True):
                cells, weights = chosen_positions(centres[index], target, scene.channels)
                there = kernels[index].flatten(1)
                masks = self.thing_embedding(there[:, cells].permute(1, 2, 0)) @ encoded
                things.append((weights * dice(masks, scene.masks[target.objects].flatten(1)[:, None])).sum(1))
                present = target.regions.flatten(1).any(1)
                share = (target.regions[present].flatten(1) > 0).to(there)
                mean = share / share.sum(1, keepdim=True) @ there.T
                stuff.append(dice(self.stuff_embedding(mean) @ encoded, scene.stuff[present].flatten(1)))
        costs = torch.cat(things), torch.cat(stuff)
        return costs[0].sum() / max(1, len(costs[0])), costs[1].sum() / max(1, len(costs[1]))

    def _answer(self, seen: Seen, index: int, frame: Frame, size: tuple[int, int]) -> dict[str, Tensor]:
        """One image's segments at its own size."""
        things, stuff = self._found(seen, index, frame)
        encoded = seen.encoded[index].flatten(1)
        masks, regions = ((found.kernels @ encoded).float().sigmoid() for found in (things, stuff))
        inside = masks > self.finding.mask
        scores = things.scores * (masks * inside).sum(1) / inside.sum(1).clamp(min=1)
        best = scores.topk(min(self.detections, len(scores))).indices
        best = best[scores[best] >= self.merging.score]
        maps = torch.cat((masks[best], regions)).unflatten(1, frame.encoded)
        maps = own_pixels(maps[None], frame.shown, frame.canvas, size)[0]
        certainty, winner = torch.cat((maps.new_zeros(1, *size), maps[len(best) :])).max(0)
        ids = self.get_buffer("stuff_ids")[F.pad(stuff.channels, (1, 0))]  # nothing is no class, as is "a thing"
        segments, kinds, sure = merge(
            maps[: len(best)] > self.finding.mask,
            self.get_buffer("thing_ids")[things.channels[best] + 1],
            scores[best],
            ids[winner],
            certainty,
            self.merging,
        )
        return {"segments": segments, "segment_labels": kinds, "segment_scores": sure}

    def _found(self, seen: Seen, index: int, frame: Frame) -> tuple[Found, Found]:
        """One kernel for each object and each class of stuff; only cells on the image count."""
        finding, most = self.finding, max(1, self.detections // 2)
        things, stuff = [], []
        for centres, regions, kernels, window in zip(seen.centres, seen.regions, seen.kernels, _WINDOWS, strict=True):
            parts = zip(frame.shown, frame.canvas, _size(kernels), strict=True)
            rows, columns = (-(-part * cells // whole) for part, whole, cells in parts)
            centre, region, kernel = (maps[index, :, :rows, :columns] for maps in (centres, regions, kernels))
            things.append(peaks(centre, kernel, window=window, least=finding.centre, most=most))
            stuff.append(region_kernels(region, kernel, least=finding.region))
        objects, classes = (
            found._replace(kernels=embedding(found.kernels))
            for found, embedding in ((joined(things), self.thing_embedding), (joined(stuff), self.stuff_embedding))
        )
        return fuse_similar(objects, similarity=finding.similarity), fuse_classes(classes)


def _size(maps: Tensor) -> tuple[int, int]:
    return maps.shape[-2], maps.shape[-1]
