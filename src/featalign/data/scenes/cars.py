"""Cars, as shapes from back to front."""

from __future__ import annotations

from featalign.data.scenes.labels import CAR, ROAD
from featalign.data.scenes.patterns import Gradient
from featalign.data.scenes.shapes import Box, Oval, Paint, Point, Polygon, Region, Rgb, Shape
from featalign.data.scenes.view import Chance, View, shade


def car(chance: Chance, view: View, scale: float) -> list[Shape]:
    """On the road, from the side or from behind, over its shadow."""
    sideways = chance.happens(0.5)
    half = (0.21 if sideways else 0.13) * chance.number(0.85, 1.15)
    left, right = view.road
    lateral = chance.number(left + half, right - half)
    x, y = view.point(lateral, scale)
    body = chance.color((0, 1), (0.1, 0.9), (0.2, 0.95)) if chance.happens(0.7) else chance.gray(0.08, 0.95)
    shadow = Oval((x, y), (half * 1.1 * scale, 0.025 * scale))
    dark = chance.rough(chance.gray(0.05, 0.16), 0.1, 30)
    draw = _side_view if sideways else _rear_view
    return [Shape(ROAD, shadow, dark), *draw(chance, (x, y), half * scale, body)]


def _side_view(chance: Chance, foot: Point, half: float, body: Rgb) -> list[Shape]:
    (x, y), front = foot, chance.side()
    metal = Paint(shade(body, 1.15), shade(body, 0.75), Gradient(y - 0.6 * half, y))
    glass, rubber = chance.plain(chance.gray(0.1, 0.45)), chance.plain(chance.gray(0.04, 0.15))
    shift = -0.12 * half * front
    roof = _trapezoid(x + shift, y - 0.85 * half, y - 0.45 * half, 0.42 * half, 0.68 * half)
    panes = _trapezoid(x + shift, y - 0.78 * half, y - 0.5 * half, 0.38 * half, 0.56 * half)
    post = Box((x + shift - 0.03 * half, y - 0.8 * half, x + shift + 0.03 * half, y - 0.45 * half))
    hull = Oval((x, y - 0.36 * half), (half, 0.24 * half), square=True)
    wheels = [Oval((x + 0.58 * half * way, y - 0.15 * half), (0.17 * half, 0.17 * half)) for way in (-1, 1)]
    parts: list[tuple[Region, Paint]] = [(roof, metal), (panes, glass), (post, metal), (hull, metal)]
    return [Shape(CAR, region, paint) for region, paint in parts + [(wheel, rubber) for wheel in wheels]]


def _rear_view(chance: Chance, foot: Point, half: float, body: Rgb) -> list[Shape]:
    x, y = foot
    metal = Paint(shade(body, 1.1), shade(body, 0.75), Gradient(y - 1.2 * half, y))
    glass, rubber = chance.plain(chance.gray(0.1, 0.45)), chance.plain(chance.gray(0.04, 0.15))
    lamp = chance.plain(chance.color((0.97, 1.05), (0.6, 1), (0.6, 1)))
    parts: list[tuple[Region, Paint]] = [
        *((Box((x + a * half, y - 0.35 * half, x + (a + 0.3) * half, y)), rubber) for a in (-0.88, 0.58)),
        (_trapezoid(x, y - 1.45 * half, y - 0.8 * half, 0.62 * half, 0.88 * half), metal),
        (_trapezoid(x, y - 1.36 * half, y - 0.92 * half, 0.54 * half, 0.74 * half), glass),
        (Oval((x, y - 0.55 * half), (half, 0.42 * half), square=True), metal),
        *((Oval((x + a * half, y - 0.62 * half), (0.15 * half, 0.1 * half)), lamp) for a in (-0.74, 0.74)),
    ]
    return [Shape(CAR, region, paint) for region, paint in parts]


def _trapezoid(x: float, top: float, bottom: float, half_top: float, half_bottom: float) -> Polygon:
    return Polygon(((x - half_top, top), (x + half_top, top), (x + half_bottom, bottom), (x - half_bottom, bottom)))
