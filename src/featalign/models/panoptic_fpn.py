"""Panoptic FPN: Mask R-CNN and Semantic FPN on one pyramid (Panoptic Feature Pyramid Networks, CVPR 2019, section 3).

images ─▶ FeaturePyramid ─┬─▶ Mask R-CNN of the things ──────────────▶ boxes, masks ─┬─▶ merge ─▶ segments
                          └─▶ SemanticHead ─▶ classes of stuff, or a thing ─────────┘
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection import MaskRCNN

from featalign.models.canvas import own_pixels
from featalign.models.feature_pyramid import FeaturePyramid
from featalign.models.panoptic_merging import Merging, merge
from featalign.models.panoptic_parts import channel_tables, checked_targets, require_both
from featalign.models.semantic_fpn import SemanticHead
from featalign.spec import IGNORE_INDEX

LEVELS = ("0", "1", "2", "3")


class PanopticFPN(MaskRCNN):
    """Images, float (C, H, W) in [0, 1] of any sizes, to losses in training and to segments in evaluation.

    Targets are those of :func:`~featalign.data.objects.panoptic_target`; a crowd counts as a thing for the semantic
    branch alone. Answers hold the objects besides the segments: ``boxes``, ``labels``, ``scores`` and ``masks``.

    Args:
        backbone: the pyramid that both branches read.
        things: ids of the classes whose objects are told apart, ascending.
        stuff: ids of all other classes, ascending.
        instance_weight, semantic_weight: of the losses, the paper's lambda_i and lambda_s (section 3.2); 1 and 0.5 in
            the published configuration for COCO.
        merging: how the branches' answers become one.
        options: of torchvision's ``MaskRCNN``.

    Raises:
        ConfigError: without things, or without stuff.
    """

    def __init__(
        self,
        backbone: FeaturePyramid,
        *,
        things: Sequence[int],
        stuff: Sequence[int],
        instance_weight: float = 1.0,
        semantic_weight: float = 0.5,
        merging: Merging | None = None,
        **options: Any,
    ) -> None:
        require_both("panoptic_fpn", things, stuff)
        super().__init__(backbone, num_classes=len(things) + 1, **options)
        self.semantic_head = SemanticHead(len(LEVELS), backbone.out_channels, len(stuff) + 1)
        self.instance_weight, self.semantic_weight = instance_weight, semantic_weight
        self.merging = merging or Merging()
        for name, ids in (("thing", things), ("stuff", stuff)):  # channel 0: the boxes' background, and "a thing"
            own, channels = channel_tables(ids, len(things) + len(stuff))
            self.register_buffer(f"{name}_ids", own, persistent=False)
            self.register_buffer(f"{name}_channels", channels, persistent=False)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """A dictionary of losses, or one for each image, see :class:`~featalign.models.Detector`."""
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        objects = checked_targets(targets, sizes, self.get_buffer("thing_channels")) if self.training else None
        batch, objects = self.transform(images, objects)
        features = self.backbone(batch.tensors)
        logits = self.semantic_head([features[level] for level in LEVELS])
        canvas = (batch.tensors.shape[-2], batch.tensors.shape[-1])
        parts = [  # of each image, at its own size
            own_pixels(logits[i : i + 1], shown, canvas, size)
            for i, (shown, size) in enumerate(zip(batch.image_sizes, sizes, strict=True))
        ]
        proposals, losses = self.rpn(batch, features, objects)
        found, head_losses = self.roi_heads(features, proposals, batch.image_sizes, objects)
        if self.training:
            assert targets is not None
            losses = {name: self.instance_weight * loss for name, loss in (head_losses | losses).items()}
            semantic = self._semantic_loss(parts, [target["semantic"] for target in targets])
            return losses | {"loss_semantic": self.semantic_weight * semantic}
        found = self.transform.postprocess(found, batch.image_sizes, sizes)
        return [self._merged(one, part) for one, part in zip(found, parts, strict=True)]

    def _semantic_loss(self, parts: list[Tensor], truths: list[Tensor]) -> Tensor:
        """Cross-entropy, the mean over the labelled pixels of the batch."""
        costs, labelled = [], 0
        for logits, truth in zip(parts, truths, strict=True):
            void = truth == IGNORE_INDEX
            channels = self.get_buffer("stuff_channels")[truth.masked_fill(void, 0)].masked_fill(void, IGNORE_INDEX)
            costs.append(F.cross_entropy(logits.float(), channels[None], ignore_index=IGNORE_INDEX, reduction="sum"))
            labelled += int((~void).sum())
        return torch.stack(costs).sum() / max(1, labelled)

    def _merged(self, found: dict[str, Tensor], logits: Tensor) -> dict[str, Tensor]:
        """One image's objects, labels in the order of the things, and its classes of stuff (1, 1 + S, H, W)."""
        labels = self.get_buffer("thing_ids")[found["labels"]]
        best, channels = logits[0].float().max(0)
        certainty = (best - logits[0].float().logsumexp(0)).exp()
        segments, kinds, scores = merge(
            found["masks"][:, 0] >= 0.5,
            labels,
            found["scores"],
            self.get_buffer("stuff_ids")[channels],
            certainty,
            self.merging,
        )
        answer = {"segments": segments, "segment_labels": kinds, "segment_scores": scores}
        return {**found, "labels": labels + 1, **answer}
