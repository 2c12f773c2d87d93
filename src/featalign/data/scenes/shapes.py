"""Regions of the plane and what is painted on them.

A region answers exactly whether a point lies in it; arrays of x and y broadcast, so that a grid is asked with a row of
x and a column of y, and gives bit for bit what its points give one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from featalign.data.scenes.patterns import Pattern

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Point = tuple[float, float]
Bounds = tuple[float, float, float, float]
Rgb = tuple[float, float, float]


class Region(Protocol):
    """A closed set of points."""

    @property
    def bounds(self) -> Bounds:
        """(x0, y0, x1, y1) around the region."""

    def contains(self, x: Floats, y: Floats) -> Bools:
        """Whether each point lies in the region; x and y broadcast."""


@dataclass(frozen=True)
class Box:
    """An upright rectangle."""

    bounds: Bounds

    def contains(self, x: Floats, y: Floats) -> Bools:
        x0, y0, x1, y1 = self.bounds
        return ((x >= x0) & (x <= x1)) & ((y >= y0) & (y <= y1))


@dataclass(frozen=True)
class Oval:
    """``|dx / rx|^p + |dy / ry|^p <= 1``: an ellipse, or with ``square`` (p = 4) a rounded rectangle."""

    center: Point
    radii: Point
    square: bool = False

    @property
    def bounds(self) -> Bounds:
        (x, y), (rx, ry) = self.center, self.radii
        return x - rx, y - ry, x + rx, y + ry

    def contains(self, x: Floats, y: Floats) -> Bools:
        dx = ((x - self.center[0]) / self.radii[0]) ** 2
        dy = ((y - self.center[1]) / self.radii[1]) ** 2
        return dx * dx + dy * dy <= 1 if self.square else dx + dy <= 1


@dataclass(frozen=True)
class Polygon:
    """A convex polygon, vertices in either order."""

    vertices: tuple[Point, ...]

    @cached_property
    def bounds(self) -> Bounds:
        xs, ys = zip(*self.vertices, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @cached_property
    def _half_planes(self) -> list[tuple[float, float, float]]:
        """(a, b, c) of each edge; inside is a * y - b * x >= c."""
        pairs = list(zip(self.vertices, self.vertices[1:] + self.vertices[:1], strict=True))
        area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs)
        turn = 1.0 if area > 0 else -1.0
        edges = [(turn * (x1 - x0), turn * (y1 - y0), x0, y0) for (x0, y0), (x1, y1) in pairs]
        return [(a, b, a * y0 - b * x0) for a, b, x0, y0 in edges]

    def contains(self, x: Floats, y: Floats) -> Bools:
        inside = np.ones(np.broadcast_shapes(x.shape, y.shape), dtype=np.bool_)
        for a, b, c in self._half_planes:
            inside &= a * y - b * x >= c
        return inside


@dataclass(frozen=True)
class Paint:
    """Two colours (red, green, blue in [0, 1]) and the pattern that blends from the first (0) to the second (1)."""

    first: Rgb
    second: Rgb
    pattern: Pattern


@dataclass(frozen=True)
class Shape:
    """A painted region of one class."""

    label: int
    region: Region
    paint: Paint
