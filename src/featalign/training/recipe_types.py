"""The types that the sections of a recipe are written in, and their checks in plain words."""

from __future__ import annotations

import json
import math
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

DETECTION = ("faster_rcnn", "mask_rcnn", "retinanet", "fcos")
PANOPTIC = ("panoptic_fpn", "panoptic_fcn", "maskformer")
"""Networks of :func:`featalign.models.create_detector`; named here so that reading a recipe does not import torch."""

COARSEST_STRIDE = 32  # of the pyramid: its last map has ceil(side / 32) cells


class Section(BaseModel):
    """Fields are fixed: an unknown key is an error, and so are nan and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


def _square(value: object) -> object:
    """One number for both sides, as people write it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    return tuple(value) if isinstance(value, list) else value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    low, high = value
    if not 0 < low <= high:
        raise ValueError(f"expected 0 < low <= high, got [{low}, {high}]")
    return value


def _rising(value: tuple[int, ...]) -> tuple[int, ...]:
    if list(value) != sorted(set(value)):
        raise ValueError(f"expected rising numbers, got {list(value)}")
    return value


def _weights(value: object) -> object:
    """One message for a field of two kinds, where pydantic would give one per kind."""
    if value in ("none", "balanced"):
        return value
    if isinstance(value, list | tuple) and value and all(_is_number(item) and item >= 0 for item in value):
        return tuple(value)
    raise ValueError(f"expected none, balanced, or a list of one number >= 0 per class, got {json.dumps(value)}")


def _pretrained(value: object) -> object:
    if isinstance(value, bool) or (isinstance(value, str) and value):
        return value
    raise ValueError(f"expected true, false, or the path of a file of timm weights, got {json.dumps(value)}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
Side: TypeAlias = Annotated[int, Field(ge=COARSEST_STRIDE)]
Crop: TypeAlias = Annotated[tuple[Side, Side], BeforeValidator(_square)]
Size: TypeAlias = Annotated[tuple[Count, Count], BeforeValidator(_square)]
Scales: TypeAlias = Annotated[tuple[float, float], AfterValidator(_ordered)]
Steps: TypeAlias = Annotated[tuple[Count, ...], AfterValidator(_rising)]
Weights: TypeAlias = Annotated[Literal["none", "balanced"] | tuple[float, ...], BeforeValidator(_weights)]
Pretrained: TypeAlias = Annotated[bool | str, BeforeValidator(_pretrained)]
