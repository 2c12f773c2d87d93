"""The perspective that all things of one scene share, and the chance that colours them."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from featalign.data.scenes.patterns import Flat, Noise
from featalign.data.scenes.shapes import Paint, Point, Polygon, Rgb

Range = tuple[float, float]
Option = TypeVar("Option")


@dataclass(frozen=True)
class View:
    """A street seen along its length.

    A place on the ground is (lateral, scale): scale 1 at the image's lower edge, towards 0 at the horizon; lateral is
    the distance from the viewer's line of sight. Lengths are in image widths or heights as seen at scale 1.
    """

    vanish: Point
    road: Range
    """Lateral positions of the road's two edges."""

    def point(self, lateral: float, scale: float, height: float = 0.0) -> Point:
        """(x, y) in the image of the point at this height above the place."""
        x, y = self.vanish
        return x + lateral * scale, y + (1 - y - height) * scale

    def strip(self, laterals: Range, scales: Range) -> Polygon:
        """A rectangle lying on the ground."""
        (left, right), (far, near) = laterals, scales
        return Polygon((self.point(left, far), self.point(right, far), self.point(right, near), self.point(left, near)))


class Chance:
    """Random draws in the terms that the drawing code thinks in."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def number(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def log_number(self, low: float, high: float) -> float:
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def count(self, low: int, high: int) -> int:
        """Both ends included."""
        return int(self.rng.integers(low, high + 1))

    def happens(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, *options: Option) -> Option:
        """One of the options; one given twice is twice as likely."""
        return options[self.count(0, len(options) - 1)]

    def side(self) -> int:
        return 1 if self.happens(0.5) else -1

    def color(self, hue: Range, saturation: Range, value: Range) -> Rgb:
        return colorsys.hsv_to_rgb(self.number(*hue) % 1, self.number(*saturation), self.number(*value))

    def gray(self, low: float, high: float) -> Rgb:
        """Nearly gray."""
        return self.color((0, 1), (0, 0.12), (low, high))

    def plain(self, color: Rgb) -> Paint:
        """The colour, all over."""
        return Paint(color, color, Flat())

    def rough(self, color: Rgb, contrast: float, cells: int) -> Paint:
        """The colour, made lighter and darker by value noise of so many cells across the image."""
        return Paint(shade(color, 1 - contrast), shade(color, 1 + contrast), Noise.random(self.rng, cells=cells))


def shade(color: Rgb, factor: float) -> Rgb:
    """A lighter (factor > 1) or darker colour."""
    red, green, blue = (min(channel * factor, 1.0) for channel in color)
    return red, green, blue
