"""An image with what a network said of it: what the forms of an answer are made from."""

from __future__ import annotations

from dataclasses import dataclass

from featalign.inference.objects import Objects
from featalign.inference.panoptic import Segments
from featalign.serve.networks import Labels, Pixels
from featalign.spec import Classes


@dataclass(frozen=True)
class Segmented:
    """An image and the answer, whose sizes may differ."""

    model: str
    pixels: Pixels
    labels: Labels
    classes: Classes


@dataclass(frozen=True)
class Detected:
    """An image and what was found in it."""

    model: str
    pixels: Pixels
    found: Objects | Segments
