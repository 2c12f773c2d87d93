"""The forms of what detectors and panoptic networks answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field

from featalign.inference.panoptic import Segments
from featalign.inference.photo import as_rgb
from featalign.serve.answered import Detected
from featalign.serve.answers import png
from featalign.serve.problems import CannotError

Side = Annotated[float, Field(ge=0)]


class Mask(BaseModel):
    """COCO's compressed run lengths; pycocotools decodes them."""

    size: list[int] = Field(description="Height and width.", min_length=2, max_length=2)
    counts: str


class Found(BaseModel):
    """An object, or with ``id`` a segment of a panoptic answer."""

    class_id: int
    name: str
    score: float = Field(ge=0, le=1)
    bbox: list[float] | None = Field(None, description="Of an object: left, top, width and height in pixels.")
    mask: Mask | None = Field(None, description="Of an object: null unless asked for, and where the network has none.")
    id: int | None = Field(None, description="Of a segment: its number in the picture of output=segments.")
    area: int | None = Field(None, description="Of a segment, in pixels.")


class Detection(BaseModel):
    """What is in an image: objects, the surest first, or segments in the order of their numbers."""

    model: str
    height: int
    width: int
    found: list[Found]


def detection(answer: Detected, *, masks: bool) -> Detection:
    """The answer in numbers."""
    found = answer.found
    rows: list[dict[str, Any]]
    if isinstance(found, Segments):
        rows = found.to_coco(image_id=0, file_name="")["segments_info"]
    else:
        rows = (found if masks else replace(found, masks=None)).to_coco(image_id=0)
    height, width = answer.pixels.shape[:2]
    return Detection(
        model=answer.model,
        height=height,
        width=width,
        found=[_found(row, found.classes.names) for row in rows],
    )


def detection_png(answer: Detected) -> bytes:
    """The image with boxes, masks and captions, or with segments, drawn over it."""
    height, width = answer.pixels.shape[:2]
    return png(answer.found.overlay(np.ascontiguousarray(as_rgb(answer.pixels, (height, width)))), level=1)


def segments_png(answer: Detected) -> bytes:
    """COCO's picture of the segments' numbers: red + 256 green + 65536 blue. Raises CannotError of a detector."""
    if not isinstance(answer.found, Segments):
        raise CannotError(f'model "{answer.model}" finds objects, which may overlap; ask for output=json or overlay')
    return png(answer.found.to_png())


def _found(row: dict[str, Any], names: Sequence[str]) -> Found:
    label = row["category_id"] - 1
    mask = row.get("segmentation")
    return Found(
        class_id=label,
        name=names[label],
        score=row["score"],
        bbox=row.get("bbox"),
        mask=None if mask is None else Mask(**mask),
        id=row.get("id"),
        area=row.get("area"),
    )
