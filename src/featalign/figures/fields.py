"""Offset fields as pictures: a colour wheel, where hue is direction and saturation is length, and arrows on the image.

A field is float (2, h, w): where each cell reads its value, relative to its own place, x (columns, positive to the
right) then y (rows, positive downwards), in cells of its own grid. The wheel is drawn as the eye sees the picture: the
hue at its right edge stands for a cell that reads from its right.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from featalign.figures.drawing import FRAME, INK, PAPER, font, scale_photo
from featalign.figures.palette import Pixels, check_image
from featalign.spec import Color

Field = NDArray[np.floating]
PERCENTILE = 99.0  # of the lengths: a few far-flung offsets at the border must not bleach all others
ARROWS = 26  # along the longer side of a picture
_SMOOTH = 3  # arrows are drawn this many times larger, then shrunk


def longest(fields: Iterable[Field]) -> float:
    """The length in cells that gets the full colour: the 99th percentile over all of the fields."""
    lengths = [np.hypot(*_check(field)).ravel() for field in fields]
    return float(np.percentile(np.concatenate(lengths), PERCENTILE)) if lengths else 0.0


def field_colors(field: Field, *, limit: float) -> Pixels:
    """A field (2, h, w) in colours, uint8 (h, w, 3): white for no offset, the full hue from ``limit`` cells on."""
    x, y = _check(field)
    saturation = np.minimum(np.hypot(x, y) / limit, 1.0) if limit > 0 else np.zeros_like(x)
    return _wheel_colors(np.arctan2(y, x), saturation)


def field_arrows(image: Pixels, field: Field, *, limit: float, size: tuple[int, int]) -> tuple[Image.Image, float]:
    """Arrows from a few cells to where they read, over the image in grey.

    Args:
        image: uint8 (H, W, 3).
        field: (2, h, w), over the whole image.
        limit: the length in cells that is drawn as long as two arrows are apart.
        size: (width, height) of the picture.

    Returns:
        The picture, and how many times longer than to the picture's scale the arrows are.
    """
    gray = Image.fromarray(check_image(image)).convert("L").convert("RGB")
    canvas = Image.blend(scale_photo(gray, size), Image.new("RGB", size, PAPER), 0.5)
    spacing = max(size) / ARROWS
    pitch = size[0] / field.shape[2]
    factor = spacing / (limit * pitch) if limit > 0 else 1.0
    layer = Image.new("RGBA", (size[0] * _SMOOTH, size[1] * _SMOOTH), (*INK, 0))
    draw = ImageDraw.Draw(layer)
    for start, move in _sparse(_check(field), size, spacing):
        vector = move * pitch * factor
        vector *= min(1.0, 1.6 * spacing / max(float(np.hypot(*vector)), 1e-9))
        if np.hypot(*vector) >= 2:  # shorter ones are dots
            _arrow(draw, start * _SMOOTH, vector * _SMOOTH, _hue(move))
    layer = layer.resize(size, Image.Resampling.LANCZOS)
    canvas.paste(layer, mask=layer.getchannel("A"))
    return canvas, factor


def field_key(lines: Iterable[str], *, text: int, diameter: int = 84) -> Image.Image:
    """The colour wheel with lines of text beside it, on white."""
    lines = list(lines)
    step, gap = round(1.5 * text), text
    height = max(diameter, step * len(lines))
    width = diameter + gap + round(max((font(text).getlength(line) for line in lines), default=0))
    canvas = Image.new("RGB", (width, height), PAPER)
    canvas.paste(_wheel(diameter), (0, (height - diameter) // 2))
    draw = ImageDraw.Draw(canvas)
    top = (height - step * len(lines)) / 2
    for i, line in enumerate(lines):
        draw.text((diameter + gap, top + (i + 0.5) * step), line, fill=INK, font=font(text), anchor="lm")
    return canvas


def _wheel(diameter: int) -> Image.Image:
    """A disc of all directions, lengths 0 to the limit, with a thin rim."""
    side = diameter * _SMOOTH
    y, x = (np.mgrid[:side, :side] + 0.5) * (2 / side) - 1
    colors = _wheel_colors(np.arctan2(y, x), np.minimum(np.hypot(x, y), 1))
    colors[np.hypot(x, y) > 1] = PAPER
    disc = Image.fromarray(colors)
    ImageDraw.Draw(disc).ellipse((0, 0, side - 1, side - 1), outline=FRAME, width=_SMOOTH)
    return disc.resize((diameter, diameter), Image.Resampling.LANCZOS)


def _wheel_colors(angle: Field, saturation: Field) -> Pixels:
    """Hue, saturation and a value that falls a little with saturation, so that full colours are not glaring."""
    hue = np.mod(angle / (2 * np.pi), 1.0) * 6
    channels = [1 - saturation * np.clip(_distance(hue, peak) - 1, 0, 1) for peak in (0, 2, 4)]
    value = 255 * (1 - 0.1 * saturation)
    return np.round(np.stack(channels, -1) * value[..., None]).astype(np.uint8)


def _distance(hue: Field, peak: int) -> Field:
    """Around the circle of six, from where a primary colour is strongest."""
    apart = np.abs(hue - peak)
    return np.minimum(apart, 6 - apart)


def _hue(move: Field) -> Color:
    """The full colour of a direction, darkened to be seen on a pale photo."""
    red, green, blue = (0.8 * _wheel_colors(np.arctan2(move[1], move[0])[None], np.ones(1))[0]).astype(int).tolist()
    return red, green, blue


def _sparse(field: Field, size: tuple[int, int], spacing: float) -> Iterable[tuple[Field, Field]]:
    """Places in the picture (x, y) and the mean offset around each."""
    columns, rows = (max(1, round(side / spacing)) for side in size)
    means = np.stack([_shrink(part, (columns, rows)) for part in field])
    for row in range(rows):
        for column in range(columns):
            place = np.array([(column + 0.5) * size[0] / columns, (row + 0.5) * size[1] / rows])
            yield place, means[:, row, column]


def _shrink(part: Field, size: tuple[int, int]) -> Field:
    return np.asarray(Image.fromarray(part.astype(np.float32)).resize(size, Image.Resampling.BOX), dtype=np.float64)


def _arrow(draw: ImageDraw.ImageDraw, start: Field, vector: Field, color: Color) -> None:
    """A shaft with a filled head, its tail at ``start``."""
    length = float(np.hypot(*vector))
    along, tip = vector / length, start + vector
    across = np.array([-along[1], along[0]])
    head = min(4.0 * _SMOOTH, 0.6 * length)
    neck = tip - head * along
    for fill, extra in ((PAPER, 1.0 * _SMOOTH), (color, 0.0)):
        draw.line((*start, *neck), fill=fill, width=round(1.4 * _SMOOTH + extra))
        wings = neck + 0.55 * head * across, neck - 0.55 * head * across
        draw.polygon([tuple(point) for point in (tip, *wings)], fill=fill, outline=fill, width=round(extra / 2) or 1)


def _check(field: Field) -> Field:
    """The field as float64; raises ValueError unless it is (2, h, w) and finite."""
    field = np.asarray(field, dtype=np.float64)
    if field.ndim != 3 or field.shape[0] != 2 or not field.size:
        raise ValueError(f"got an offset field of shape {field.shape}; expected (2, height, width) in (x, y)")
    if not np.isfinite(field).all():
        raise ValueError("got an offset field with nan or infinite entries; the model's weights are broken")
    return field
