"""COCO's evaluation with masks compared near their contours, too (Boundary IoU, CVPR 2021, section 6)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pycocotools import mask as coding
from pycocotools.cocoeval import COCOeval

from featalign.metrics.boundary_iou import DIAGONAL_SHARE
from featalign.metrics.windows import window_max


class BoundaryEvaluation(COCOeval):
    """The overlap of two masks is the lesser of their IoU and the IoU of what lies just inside their contours."""

    def computeIoU(self, image: int, category: int) -> NDArray[np.float64] | list[Any]:  # noqa: N802 - COCO's name
        overlaps = super().computeIoU(image, category)
        if len(overlaps) == 0:
            return overlaps
        truth, found = self._gts[image, category], self._dts[image, category]
        order = np.argsort([-row["score"] for row in found], kind="mergesort")[: self.params.maxDets[-1]]
        near = coding.iou(
            [_contour(found[i]["segmentation"]) for i in order],
            [_contour(row["segmentation"]) for row in truth],
            [int(row["iscrowd"]) for row in truth],
        )
        return np.minimum(overlaps, near)


def _contour(lengths: dict[str, Any]) -> dict[str, Any]:
    """Run lengths of a mask to those of its part within 2 % of the diagonal of its contour or the image's border."""
    mask = coding.decode(lengths)
    return coding.encode(
        np.asfortranarray(inner_contour(mask, max(1, round(DIAGONAL_SHARE * math.hypot(*mask.shape)))))
    )


def inner_contour(mask: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """What ``width`` erosions by a 3x3 square take from a mask (H, W), 0 or 1; outside of it there is nothing."""
    outside = F.pad(torch.from_numpy(1 - mask), (1,) * 4, value=1)
    return mask * window_max(outside, width)[1:-1, 1:-1].numpy()
