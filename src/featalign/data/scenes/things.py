"""What stands beside a street: trees, poles, signs and railings, each as shapes from back to front."""

from __future__ import annotations

from math import cos, pi, sin

from featalign.data.scenes.labels import POLE, SIGN, TREE
from featalign.data.scenes.shapes import Box, Oval, Paint, Point, Polygon, Region, Rgb, Shape
from featalign.data.scenes.view import Chance, View, shade

# Poles are from well below one pixel to three pixels wide in an image of 96 pixels.
POLE_WIDTHS = (0.005, 0.031)


def tree(chance: Chance, view: View, lateral: float, scale: float) -> list[Shape]:
    """A trunk with a crown of many discs, a fir, or a bush."""
    leaves = chance.color((0.2, 0.42), (0.3, 0.75), (0.2, 0.6))
    if chance.happens(0.25):
        leaves = chance.color((0.02, 0.16), (0.4, 0.8), (0.4, 0.8))
    trunk = chance.rough(chance.color((0.04, 0.1), (0.2, 0.6), (0.15, 0.4)), 0.15, 40)
    kind = chance.pick("broad", "broad", "broad", "fir", "bush")
    x, y = view.point(lateral, scale)
    if kind == "bush":
        return _crown(chance, (x, y - 0.07 * scale), 0.1 * scale, leaves)
    height = chance.number(0.35, 0.7) * scale
    width = chance.number(0.02, 0.045) * scale
    outline = ((x - width, y), (x + width, y), (x + width / 2, y - height), (x - width / 2, y - height))
    stem = Shape(TREE, Polygon(outline), trunk)
    if kind == "fir":
        return [stem, *_fir(chance, (x, y), height, leaves)]
    return [stem, *_crown(chance, (x, y - height), chance.number(0.14, 0.24) * scale, leaves)]


def _crown(chance: Chance, center: Point, radius: float, leaves: Rgb) -> list[Shape]:
    """Discs on a ring and one in the middle, each with its own light."""
    turn = chance.number(0, 2 * pi)
    shapes = []
    for i in range(7):
        distance = 0.75 * radius if i < 6 else 0
        angle = turn + i * pi / 3
        size = radius * chance.number(0.4, 0.7)
        spot = (center[0] + distance * cos(angle), center[1] + 0.8 * distance * sin(angle))
        paint = chance.rough(shade(leaves, chance.number(0.8, 1.2)), 0.3, 80)
        shapes.append(Shape(TREE, Oval(spot, (size, size)), paint))
    return shapes


def _fir(chance: Chance, foot: Point, height: float, leaves: Rgb) -> list[Shape]:
    shapes = []
    for tier in range(3):
        low = foot[1] - height * (0.2 + 0.33 * tier)
        half = height * (0.3 - 0.07 * tier)
        cone = Polygon(((foot[0] - half, low), (foot[0] + half, low), (foot[0], low - 0.6 * height)))
        shapes.append(Shape(TREE, cone, chance.rough(leaves, 0.3, 80)))
    return shapes


def pole(chance: Chance, view: View, lateral: float, scale: float) -> list[Shape]:
    """A lamp post, perhaps leaning a little, perhaps with an arm over the road."""
    height = chance.number(0.5, 1.1) * scale
    x, y = view.point(lateral, scale)
    top = (x + chance.number(-0.04, 0.04) * height, y - height)
    width, paint = _pole_width(chance, scale), _metal(chance)
    shapes = [Shape(POLE, _bar((x, y), top, width), paint)]
    if chance.happens(0.5):
        way = 1 if lateral < 0 else -1
        end = (top[0] + way * chance.number(0.1, 0.25) * scale, top[1] - 0.03 * scale)
        shapes.append(Shape(POLE, _bar(top, end, 0.7 * width, upright=False), paint))
        shapes.append(Shape(POLE, Oval(end, (0.024 * scale + width / 2, 0.008 * scale + width / 2)), paint))
    return shapes


def sign(chance: Chance, view: View, lateral: float, scale: float) -> list[Shape]:
    """A plate of any common form on a post; the post is a pole."""
    x, y = view.point(lateral, scale)
    height, radius = chance.number(0.35, 0.6) * scale, chance.number(0.08, 0.14) * scale
    post = Shape(POLE, _bar((x, y), (x, y - height), 0.8 * _pole_width(chance, scale)), _metal(chance))
    hue = chance.pick(0.0, 0.14, 0.36, 0.6)
    plate, symbol = chance.color((hue - 0.02, hue + 0.02), (0.55, 0.95), (0.55, 0.95)), chance.gray(0.75, 1)
    if chance.happens(0.35):
        plate, symbol = symbol, plate
    center = (x, y - height)
    form = chance.pick("disc", "square", "diamond", "triangle")
    outline = _form(center, radius, form)
    inner = _form(center, radius * chance.number(0.4, 0.75), form)
    return [post, Shape(SIGN, outline, chance.plain(plate)), Shape(SIGN, inner, chance.plain(symbol))]


def railing(chance: Chance, view: View) -> list[Shape]:
    """Posts and two rails along the road's edge, thinner and closer with distance."""
    side = chance.side()
    lateral = view.road[0 if side < 0 else 1] + side * 0.05
    height = chance.number(0.1, 0.16)
    paint = _metal(chance)
    first = chance.number(1.1, 1.8)
    depths = [first + 0.3 * step for step in range(chance.count(6, 12))]
    shapes = []
    for depth in depths:
        foot, top = view.point(lateral, 1 / depth), view.point(lateral, 1 / depth, height)
        shapes.append(Shape(POLE, _bar(foot, top, 0.012 / depth), paint))
    near, far = 1 / depths[0], 1 / depths[-1]
    for level in (0.5, 1.0):
        low, high = (level - 0.06) * height, (level + 0.06) * height
        corners = ((near, low), (near, high), (far, high), (far, low))
        rail = Polygon(tuple(view.point(lateral, scale, lift) for scale, lift in corners))
        shapes.append(Shape(POLE, rail, paint))
    return shapes


def _pole_width(chance: Chance, scale: float) -> float:
    low, high = POLE_WIDTHS
    return min(max(chance.number(0.02, 0.05) * scale, low), high)


def _metal(chance: Chance) -> Paint:
    painted = chance.happens(0.2)
    return chance.plain(chance.color((0.05, 0.4), (0.3, 0.6), (0.2, 0.5)) if painted else chance.gray(0.08, 0.9))


def _bar(start: Point, end: Point, width: float, *, upright: bool = True) -> Polygon:
    """A bar of this width, measured across: in x if it stands upright, else in y."""
    dx, dy = (width / 2, 0.0) if upright else (0.0, width / 2)
    (x0, y0), (x1, y1) = start, end
    return Polygon(((x0 - dx, y0 - dy), (x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy)))


def _form(center: Point, radius: float, form: str) -> Region:
    x, y = center
    if form == "disc":
        return Oval(center, (radius, radius))
    if form == "square":
        return Box((x - 0.8 * radius, y - 0.8 * radius, x + 0.8 * radius, y + 0.8 * radius))
    corners = 4 if form == "diamond" else 3
    angles = [2 * pi * i / corners - pi / 2 for i in range(corners)]
    return Polygon(tuple((x + radius * cos(angle), y + radius * sin(angle)) for angle in angles))
