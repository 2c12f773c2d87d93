"""The backdrop: sky with sun and clouds, the pavement, and the road with what is painted on it."""

from __future__ import annotations

from featalign.data.scenes.labels import PAVEMENT, ROAD, SKY
from featalign.data.scenes.patterns import Gradient
from featalign.data.scenes.shapes import Box, Oval, Paint, Shape
from featalign.data.scenes.view import Chance, View, shade


def draw_sky(chance: Chance, view: View) -> list[Shape]:
    """Blue, gray or dusky, paler towards the horizon."""
    top = chance.color((0.54, 0.64), (0.05, 0.6), (0.55, 0.95))
    low = chance.color((0.02, 0.15), (0.05, 0.4), (0.75, 1)) if chance.happens(0.35) else shade(top, 1.25)
    shapes = [Shape(SKY, Box((0, 0, 1, 1)), Paint(top, low, Gradient(0, view.vanish[1])))]
    if chance.happens(0.4):
        glow = chance.color((0.08, 0.16), (0.1, 0.5), (0.95, 1))
        radius = chance.number(0.03, 0.07)
        center = (chance.number(0.05, 0.95), chance.number(0.04, 0.25))
        shapes.append(Shape(SKY, Oval(center, (radius, radius)), Paint(glow, glow, Gradient(0, 1))))
    for _ in range(chance.count(0, 4)):
        shapes += _cloud(chance, view)
    return shapes


def _cloud(chance: Chance, view: View) -> list[Shape]:
    paint = chance.rough(chance.gray(0.7, 0.95), 0.08, 12)
    x, y, width = chance.number(0, 1), chance.number(0.03, 0.7) * view.vanish[1], chance.number(0.06, 0.16)
    return [
        Shape(SKY, Oval((x + shift * width, y), (width * size, width * size * 0.4)), paint)
        for shift, size in ((-0.8, 0.6), (0.7, 0.7), (0, 1))
    ]


def draw_ground(chance: Chance, view: View) -> list[Shape]:
    """Stone or grass from the horizon down, and the road on it."""
    horizon = view.vanish[1]
    stone = chance.color((0.2, 0.33), (0.2, 0.5), (0.35, 0.6)) if chance.happens(0.3) else chance.gray(0.45, 0.8)
    asphalt = chance.color((0.55, 0.75), (0, 0.15), (0.22, 0.5))
    tar = chance.rough(asphalt, 0.1, 40)
    curb = chance.gray(0.5, 0.85)
    left, right = view.road
    shapes = [
        Shape(PAVEMENT, Box((0, horizon, 1, 1)), chance.rough(stone, 0.12, 48)),
        Shape(PAVEMENT, view.strip((left - 0.04, right + 0.04), (0, 1.02)), chance.rough(curb, 0.05, 20)),
        Shape(ROAD, view.strip(view.road, (0, 1.02)), tar),
    ]
    return shapes + _stains(chance, view) + _markings(chance, view)


def _stains(chance: Chance, view: View) -> list[Shape]:
    """Mended places and cracks: dark, and long as poles are, but flat on the ground."""
    shapes = []
    for _ in range(chance.count(0, 4)):
        scale = chance.log_number(0.3, 1)
        lateral = chance.number(view.road[0] + 0.15, view.road[1] - 0.15)
        paint = chance.rough(chance.gray(0.12, 0.4), 0.1, 40)
        region = Oval(view.point(lateral, scale), (chance.number(0.03, 0.12) * scale, 0.03 * scale))
        shapes.append(Shape(ROAD, region, paint))
    for _ in range(chance.count(0, 2)):
        lateral, near = chance.number(*view.road), chance.number(0.6, 1)
        crack = view.strip((lateral, lateral + chance.number(0.006, 0.015)), (near * 0.6, near))
        shapes.append(Shape(ROAD, crack, chance.rough(chance.gray(0.1, 0.25), 0.1, 20)))
    return shapes


def _markings(chance: Chance, view: View) -> list[Shape]:
    """The dashed line in the middle, and perhaps a crossing."""
    paint = chance.rough(chance.gray(0.75, 0.95), 0.05, 30)
    left, right = view.road
    middle = (left + right) / 2
    shapes = []
    if chance.happens(0.8):
        depths = [1 + 1.2 * step + chance.number(0, 0.3) for step in range(7)]
        shapes = [
            Shape(ROAD, view.strip((middle - 0.012, middle + 0.012), (1 / (depth + 0.6), 1 / depth)), paint)
            for depth in depths
        ]
    if chance.happens(0.3):
        near = chance.number(0.45, 0.9)
        width = (right - left) / 13
        bars = [(left + (2 * bar + 1) * width, left + (2 * bar + 2) * width) for bar in range(6)]
        shapes += [Shape(ROAD, view.strip(bar, (near * 0.86, near)), paint) for bar in bars]
    return shapes
