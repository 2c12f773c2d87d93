"""Composes a random street: what is there, where it stands, and what hides what."""

from __future__ import annotations

import numpy as np

from featalign.data.scenes.buildings import far_row, street_building
from featalign.data.scenes.cars import car
from featalign.data.scenes.ground import draw_ground, draw_sky
from featalign.data.scenes.shapes import Shape
from featalign.data.scenes.things import pole, railing, sign, tree
from featalign.data.scenes.view import Chance, View


def draw_street(rng: np.random.Generator) -> list[Shape]:
    """Shapes from back to front."""
    chance = Chance(rng)
    vanish = (chance.number(0.15, 0.85), chance.number(0.28, 0.55))
    middle, half = 0.5 - vanish[0] + chance.number(-0.3, 0.3), chance.number(0.32, 0.65)
    view = View(vanish, (middle - half, middle + half))
    backdrop = draw_sky(chance, view) + far_row(chance, view) + draw_ground(chance, view)
    things = _buildings(chance, view) + _things(chance, view)
    things.sort(key=lambda thing: thing[0])
    return backdrop + [shape for _, shapes in things for shape in shapes]


def _buildings(chance: Chance, view: View) -> list[tuple[float, list[Shape]]]:
    """Up to three buildings on either side, each with the scale of its near corner."""
    placed = []
    for side in (-1, 1):
        near = chance.number(0.35, 0.75)
        for _ in range(chance.count(0, 3)):
            far = near * chance.number(0.5, 0.8)
            placed.append((near, street_building(chance, view, side=side, scales=(far, near))))
            near = far * chance.number(0.75, 0.98)
    return placed


def _things(chance: Chance, view: View) -> list[tuple[float, list[Shape]]]:
    """Everything that stands on the road or beside it, each with its scale."""
    placed = []
    for _ in range(chance.count(2, 5)):
        scale = chance.log_number(0.25, 0.95)
        placed.append((scale, car(chance, view, scale)))
    for kind, low, high in ((tree, 1, 5), (pole, 2, 6), (sign, 2, 5)):
        for _ in range(chance.count(low, high)):
            scale = chance.log_number(0.2, 0.95)
            placed.append((scale, kind(chance, view, _roadside(chance, view, scale), scale)))
    if chance.happens(0.5):
        placed.append((0.5, railing(chance, view)))
    return placed


def _roadside(chance: Chance, view: View, scale: float) -> float:
    """A lateral position beside the road that is in the picture, if there is one."""
    side = chance.side()
    edge = view.road[0 if side < 0 else 1]
    border = ((0 if side < 0 else 1) - view.vanish[0]) / scale
    reach = max(0.08, min(0.6, side * (border - edge)))
    return edge + side * chance.number(0.06, reach)
