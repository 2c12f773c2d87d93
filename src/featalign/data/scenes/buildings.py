"""Buildings: a row far away, and houses beside the street with a front and a wall that runs along it."""

from __future__ import annotations

import numpy as np

from featalign.data.scenes.labels import BUILDING, TREE
from featalign.data.scenes.patterns import WallWindows, Windows
from featalign.data.scenes.shapes import Box, Oval, Paint, Polygon, Rgb, Shape
from featalign.data.scenes.view import Chance, Range, View, shade


def far_row(chance: Chance, view: View) -> list[Shape]:
    """What closes the view at the horizon: distant buildings and woods."""
    horizon = view.vanish[1]
    shapes = []
    for _ in range(chance.count(2, 8)):
        x, width, height = chance.number(-0.05, 1), chance.number(0.05, 0.2), chance.number(0.03, 0.16)
        corner = (x, horizon - height)
        box = Box((*corner, x + width, horizon + 0.02))
        shapes.append(Shape(BUILDING, box, _windowed(chance, _plaster(chance), corner, chance.number(0.012, 0.03))))
    for _ in range(chance.count(0, 5)):
        radii = (chance.number(0.03, 0.12), chance.number(0.02, 0.06))
        leaves = chance.rough(_hazy_green(chance), 0.2, 60)
        shapes.append(Shape(TREE, Oval((chance.number(0, 1), horizon), radii), leaves))
    return [shapes[i] for i in chance.rng.permutation(len(shapes))]


def street_building(chance: Chance, view: View, *, side: int, scales: Range) -> list[Shape]:
    """A house whose wall follows the street from the near to the far scale, and whose front faces the viewer."""
    far, near = scales
    lateral = view.road[0 if side < 0 else 1] + side * chance.number(0.18, 0.5)
    height = chance.number(0.6, 2.2)
    plaster = _plaster(chance)
    base, top = view.point(lateral, near), view.point(lateral, near, height)
    wall = Polygon((base, top, view.point(lateral, far, height), view.point(lateral, far)))
    outer = base[0] + side * chance.number(0.4, 1.2) * near
    left, right = sorted((base[0], outer))
    front = Box((left, top[1], right, base[1]))
    pitch = chance.number(0.14, 0.24)
    dark = shade(plaster, chance.number(0.55, 0.8))
    along = WallWindows(view.vanish, lateral, (chance.number(0.12, 0.3), pitch), (0.5, 0.55))
    shapes = [
        Shape(BUILDING, wall, Paint(dark, shade(dark, chance.number(0.35, 0.7)), along)),
        Shape(BUILDING, front, _windowed(chance, plaster, (left, top[1]), pitch * near)),
    ]
    if chance.happens(0.4):
        ridge = ((left + right) / 2, top[1] - chance.number(0.1, 0.3) * near)
        roof = Polygon(((left - 0.02, top[1]), ridge, (right + 0.02, top[1])))
        tiles = chance.color((0.95, 1.1), (0.2, 0.6), (0.25, 0.6))
        shapes.append(Shape(BUILDING, roof, chance.rough(tiles, 0.1, 40)))
    if chance.happens(0.5):
        shapes.append(_pipe(chance, front, near))
    return shapes


def _pipe(chance: Chance, front: Box, scale: float) -> Shape:
    """A drainpipe: thin and upright like a pole, and part of the building."""
    left, top, right, bottom = front.bounds
    x = chance.number(left, right)
    pipe = Box((x, top, x + chance.number(0.01, 0.02) * scale, bottom))
    return Shape(BUILDING, pipe, chance.rough(chance.gray(0.2, 0.8), 0.05, 20))


def _windowed(chance: Chance, plaster: Rgb, corner: tuple[float, float], pitch: float) -> Paint:
    glass = shade(plaster, chance.number(0.3, 0.6)) if chance.happens(0.7) else chance.color((0, 1), (0, 0.3), (0.7, 1))
    lit = chance.rng.uniform(0.45, 1, (7, 9)).astype(np.float32)
    share = (chance.number(0.35, 0.65), chance.number(0.4, 0.7))
    return Paint(plaster, glass, Windows(corner, (pitch * chance.number(0.7, 1.2), pitch), share, lit))


def _plaster(chance: Chance) -> Rgb:
    return chance.color((0, 1), (0.05, 0.45), (0.35, 0.95))


def _hazy_green(chance: Chance) -> Rgb:
    return chance.color((0.2, 0.42), (0.15, 0.45), (0.3, 0.6))
