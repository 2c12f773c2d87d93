"""PointRend as the mask head of Mask R-CNN (CVPR 2020, sections 3 and 4): coarse masks of boxes, drawn finer at points.

box ─▶ P2 read at 14 x 14 points ─▶ 2x2 of stride 2 ─▶ MLP, 1024, 1024 ─▶ K masks of 7 x 7 logits ──┐
       P2 read at points of the box ─────────────────────────────────────────▶ PointHead ◀──read there──┘
                                                                                 └─▶ K logits of the point

In training the points are random and uncertain ones; in evaluation the mask of the box's class is subdivided from 7 x 7
to 224 x 224. FaPN's Table 5 has this head (FaPN section 4).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import roi_align

from featalign.models.pointrend import PointHead
from featalign.models.subdivision import cell_centres, subdivided
from featalign.ops import draw_uncertain, mask_margin, sample_at

READ, SIDE, HIDDEN = 14, 7, 1024
POINTS = 14**2  # of a box in training
STEPS, POINTS_PER_STEP = 5, 28**2  # of the subdivision


class CoarseMasks(nn.Sequential):
    """P2 in boxes (n, width, 14, 14) to logits of K masks (n, K, 7, 7)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(
            nn.Conv2d(width, width, 2, stride=2),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(width * SIDE**2, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, classes * SIDE**2),
            nn.Unflatten(1, (classes, SIDE, SIDE)),
        )
        last = self.get_submodule("7")
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=0.001)  # undecided at first, as the point head is
        nn.init.zeros_(last.bias)


class PointMasks(nn.Module):
    """The masks of boxes from the pyramid's finest map.

    Boxes are a list with (n_i, 4) for each image, left, top, right, bottom in pixels of the batch; n is their sum.

    Args:
        width: channels of the map.
        classes: K, without background.
        stride: pitch of the map in pixels of the batch.
    """

    def __init__(self, width: int, classes: int, *, stride: int) -> None:
        super().__init__()
        self.coarse = CoarseMasks(width, classes)
        self.point_head = PointHead(width, classes)
        self.stride = stride

    def losses(
        self, finest: Tensor, boxes: Sequence[Tensor], matched: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Binary cross-entropy of the coarse masks, ``loss_mask``, and at points, ``loss_mask_points``.

        Args:
            finest: P2, (B, width, h, w).
            boxes: those that found an object.
            matched: which object of the image each box found, (n_i).
            targets: of each image, ``masks`` (N, H, W) and ``labels`` (N) from 1.
        """
        kinds = [target["labels"] - 1 for target in targets]
        kind = torch.cat([own[which] for own, which in zip(kinds, matched, strict=True)])
        coarse = self._coarse(finest, boxes)
        own = coarse[torch.arange(len(kind), device=kind.device), kind][:, None]
        points = draw_uncertain(own, POINTS, mask_margin)
        masks = [target["masks"] for target in targets]
        shares = [mask_shares(*part, side=SIDE) for part in zip(masks, matched, boxes, strict=True)]
        values = [mask_values(*part) for part in zip(masks, matched, _on_image(boxes, points), strict=True)]
        return {
            "loss_mask": _cross_entropy(own[:, 0], torch.cat(shares)),
            "loss_mask_points": _cross_entropy(self._answers(finest, boxes, coarse, kind, points), torch.cat(values)),
        }

    def draw(self, finest: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> list[Tensor]:
        """The probabilities (n_i, 1, 224, 224) of each image's boxes, with ``labels`` (n_i) from 1."""
        kind = torch.cat(list(labels)) - 1
        coarse = self._coarse(finest, boxes)
        own = coarse[torch.arange(len(kind), device=kind.device), kind][:, None]

        def ask(points: Tensor) -> Tensor:
            return self._answers(finest, boxes, coarse, kind, points)

        masks = subdivided(own, ask, steps=STEPS, points=POINTS_PER_STEP).sigmoid()
        return list(masks.split([len(part) for part in boxes]))

    def _coarse(self, finest: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        grid = cell_centres(torch.arange(READ**2, device=finest.device), READ, READ)
        points = grid.expand(sum(map(len, boxes)), -1, -1)
        logits: Tensor = self.coarse(self._read(finest, boxes, points).unflatten(2, (READ, READ)))
        return logits

    def _answers(self, finest: Tensor, boxes: Sequence[Tensor], coarse: Tensor, kind: Tensor, points: Tensor) -> Tensor:
        """Logits (n, N) of each box's own class at points of the box (n, N, 2)."""
        logits = self.point_head(self._read(finest, boxes, points), sample_at(coarse, points))
        own: Tensor = logits[torch.arange(len(kind), device=kind.device), kind]
        return own

    def _read(self, finest: Tensor, boxes: Sequence[Tensor], points: Tensor) -> Tensor:
        """The map at points of the boxes (n, N, 2): (n, width, N)."""
        size = torch.tensor([finest.shape[-1], finest.shape[-2]], device=finest.device) * self.stride
        values = [
            sample_at(finest[image : image + 1], where[None] / size)[0].transpose(0, 1)
            for image, where in enumerate(_on_image(boxes, points))
        ]
        return torch.cat(values)


class PointRoIHeads(nn.Module):
    """Stands where torchvision's Mask R-CNN has its ``RoIHeads``, and draws the masks by points.

    It holds those heads without their mask branch rather than being one: theirs goes from a map per box to a mask of
    fixed size, knows no class when it draws and keeps its loss inside ``forward``.
    """

    def __init__(self, boxes: RoIHeads, masks: PointMasks) -> None:
        super().__init__()
        boxes.mask_roi_pool = boxes.mask_head = boxes.mask_predictor = None
        self.boxes = boxes
        self.masks = masks

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_sizes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """As of torchvision's: objects of each image in evaluation, losses by name in training."""
        found, losses = self.boxes(features, proposals, image_sizes, targets)
        finest = features["0"]
        if self.training:
            assert targets is not None
            return found, losses | self.masks.losses(finest, *self._positives(proposals, targets), targets)
        masks = self.masks.draw(finest, [one["boxes"] for one in found], [one["labels"] for one in found])
        return [{**one, "masks": drawn} for one, drawn in zip(found, masks, strict=True)], losses

    def _positives(
        self, proposals: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Boxes that found an object, and which.

        Drawn once more, because torchvision does not give away those that its losses are of: by the same rule, and
        mostly the same boxes.
        """
        boxes, matched, labels, _ = self.boxes.select_training_samples(proposals, targets)
        positive = [label > 0 for label in labels]
        return (
            [part[own] for part, own in zip(boxes, positive, strict=True)],
            [part[own] for part, own in zip(matched, positive, strict=True)],
        )


def draw_by_points(network: MaskRCNN, *, classes: int, stride: int) -> None:
    """Give a Mask R-CNN of ``classes`` (without background) this mask head; ``stride``: of its pyramid's finest map."""
    masks = PointMasks(network.backbone.out_channels, classes, stride=stride)
    network.roi_heads = PointRoIHeads(network.roi_heads, masks)


def mask_shares(masks: Tensor, which: Tensor, boxes: Tensor, *, side: int) -> Tensor:
    """How much of each cell of a box a mask covers.

    Args:
        masks: (N, H, W).
        which: the mask that each of n boxes looks at, (n).
        boxes: (n, 4), left, top, right, bottom in pixels.
        side: of the box in cells.

    Returns:
        (n, side, side), in [0, 1].
    """
    places = torch.cat((which[:, None].to(boxes), boxes), 1)
    return roi_align(masks[:, None].to(boxes), places, side, aligned=True)[:, 0]


def mask_values(masks: Tensor, which: Tensor, points: Tensor) -> Tensor:
    """The value of the pixel that each point lies in.

    Args:
        masks: (N, H, W).
        which: the mask that each of n boxes looks at, (n).
        points: (n, N, 2), (x, y) in pixels; those beyond the edge belong to the last pixel.

    Returns:
        (n, N).
    """
    height, width = masks.shape[1:]
    columns = points[..., 0].floor().long().clamp(0, max(0, width - 1))
    rows = points[..., 1].floor().long().clamp(0, max(0, height - 1))
    return masks[which[:, None], rows, columns]


def _cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary; 0 of no boxes."""
    return F.binary_cross_entropy_with_logits(logits, truth.to(logits), reduction="sum") / max(1, truth.numel())


def _on_image(boxes: Sequence[Tensor], points: Tensor) -> list[Tensor]:
    """Points of boxes (n, N, 2), (x, y) in [0, 1], in pixels: of each image (n_i, N, 2)."""
    parts = points.split([len(part) for part in boxes])
    return [
        part * (box[:, None, 2:] - box[:, None, :2]) + box[:, None, :2] for box, part in zip(boxes, parts, strict=True)
    ]
