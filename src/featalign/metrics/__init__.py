"""How good an answer is, in sums of integers: the same number for any order of the images and any number of processes.

Every metric takes images one by one (``update``), adds up (``a + b``, :func:`sum_over_processes`) and gives its scores
as plain numbers (``scores``). docs/metrics.md defines each of them.
"""

from __future__ import annotations

from featalign.metrics.accumulator import Accumulator, ClassMetric, sum_over_processes
from featalign.metrics.bootstrap import FEW_IMAGES, Interval, paired_bootstrap, paired_bootstraps
from featalign.metrics.boundary import (
    BAND_WIDTHS,
    BoundaryBands,
    boundary_band,
    boundary_target,
    boundary_targets,
)
from featalign.metrics.boundary_f import BoundaryFScore, BoundaryFScores, boundary_f, boundary_f_counts
from featalign.metrics.boundary_iou import BoundaryIoU, BoundaryIoUScores, boundary_iou_counts
from featalign.metrics.confusion import ConfusionMatrix, confusion_matrix, merge_classes, per_image_counts
from featalign.metrics.counts import class_counts, class_iou, iou, mean_accuracy, mean_iou, pixel_accuracy
from featalign.metrics.detection import DetectionScores, average_precision
from featalign.metrics.instances import CITYSCAPES_INSTANCE_SIZES, InstanceIoU, InstanceScores
from featalign.metrics.panoptic import PanopticQuality, PanopticScores, Quality
from featalign.metrics.scores import Result, Scores, scores

__all__ = [
    "BAND_WIDTHS",
    "CITYSCAPES_INSTANCE_SIZES",
    "FEW_IMAGES",
    "Accumulator",
    "BoundaryBands",
    "BoundaryFScore",
    "BoundaryFScores",
    "BoundaryIoU",
    "BoundaryIoUScores",
    "ClassMetric",
    "ConfusionMatrix",
    "DetectionScores",
    "InstanceIoU",
    "InstanceScores",
    "Interval",
    "PanopticQuality",
    "PanopticScores",
    "Quality",
    "Result",
    "Scores",
    "average_precision",
    "boundary_band",
    "boundary_f",
    "boundary_f_counts",
    "boundary_iou_counts",
    "boundary_target",
    "boundary_targets",
    "class_counts",
    "class_iou",
    "confusion_matrix",
    "iou",
    "mean_accuracy",
    "mean_iou",
    "merge_classes",
    "paired_bootstrap",
    "paired_bootstraps",
    "per_image_counts",
    "pixel_accuracy",
    "scores",
    "sum_over_processes",
]
