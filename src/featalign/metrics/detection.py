"""Average precision of boxes and of masks, as COCO's own code computes it (pycocotools), in typed numbers."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from featalign.errors import ConfigError
from featalign.metrics.scores import Result

Kind = Literal["bbox", "segm", "boundary"]


@dataclass(frozen=True)
class DetectionScores(Result):
    """COCO's numbers in [0, 1]; nan where the truth has no object to find.

    ``ap``: mean over classes and over IoU thresholds 0.50, 0.55 … 0.95. Small objects have an area below 32², large
    ones from 96². ``ar1``, ``ar10``, ``ar100``: largest recall with so many detections an image.
    """

    class_ap: list[float]
    """AP of each category, in the order of their ids."""
    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float
    ar10: float
    ar100: float
    ar_small: float
    ar_medium: float
    ar_large: float


def average_precision(
    truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], *, kind: Kind
) -> DetectionScores:
    """Scores of all detections in a split.

    Args:
        truth: COCO's JSON: ``images``, ``categories``, ``annotations``; such as a data set's ``truth``, which fills in
            what files leave out.
        detections: of all images, COCO's result format: ``image_id``, ``category_id``, ``score`` and ``bbox`` (x, y,
            width, height, in pixels) or ``segmentation`` (RLE); neither is changed.
        kind: whether boxes or masks are compared, or masks by the lesser of their IoU and that of their parts near the
            contour (Boundary IoU, CVPR 2021, section 6). The area, which makes an object small or large, is that of
            what is compared, and of the truth what its ``area`` says.

    Raises:
        ConfigError: if pycocotools is missing.
        ValueError: if a detection is of an image or a category that the truth does not have, or lacks what ``kind``
            compares; if an annotation has no ``area`` or ``iscrowd``.
    """
    field = "bbox" if kind == "bbox" else "segmentation"
    _check(truth, detections, field)
    require_pycocotools()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from featalign.metrics.mask_boundaries import BoundaryEvaluation

    kept = ("image_id", "category_id", "score", field)
    found = [{name: copy.copy(row[name]) for name in kept} for row in detections]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        reference = COCO()
        reference.dataset = copy.deepcopy(dict(truth))
        for number, row in enumerate(reference.dataset["annotations"], 1):
            row["id"] = number  # an object found is marked by its number, so that number 0 would count as not found
        reference.createIndex()
        compared = BoundaryEvaluation if kind == "boundary" else COCOeval
        evaluation = compared(reference, _results(reference, found), "bbox" if kind == "bbox" else "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # thresholds, recalls, categories; all areas, 100 an image
    per_class = [_mean(precision[:, :, i]) for i in range(precision.shape[2])]
    return DetectionScores(per_class, *(_defined(value) for value in evaluation.stats))


def require_pycocotools() -> None:
    """Raises ConfigError if pycocotools is missing."""
    try:
        import pycocotools.coco  # noqa: F401
    except ImportError as error:
        raise ConfigError("average precision needs pycocotools: pip install 'featalign[detection]'") from error


def _results(reference: Any, found: list[dict[str, Any]]) -> Any:
    if found:
        return reference.loadRes(found)
    empty = copy.copy(reference)  # loadRes cannot take an empty list
    empty.dataset = {**reference.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _check(truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], field: str) -> None:
    for key, table in (("image_id", "images"), ("category_id", "categories")):
        strays = {row[key] for row in detections} - {row["id"] for row in truth[table]}
        if strays:
            raise ValueError(f"detections have {key} {sorted(strays)[:5]}, which are not among the truth's {table}")
    for what, rows, fields in (
        ("detections", detections, {field}),
        ("annotations", truth["annotations"], {field, "area", "iscrowd"}),
    ):
        lacking = [fields - row.keys() for row in rows if fields - row.keys()]
        if lacking:
            raise ValueError(f'{len(lacking)} of {len(rows)} {what} have no "{min(lacking[0])}"')


def _mean(precision: Any) -> float:
    """COCO marks what has no truth by -1."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


def _defined(value: float) -> float:
    return float(value) if value > -1 else float(np.nan)
