"""Text, swatches and sizes: what the figures of this room have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from featalign.spec import Color

INK: Color = (32, 33, 36)
PAPER: Color = (255, 255, 255)
FRAME: Color = (196, 198, 202)

Entry = tuple[Color, str]


@lru_cache
def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font at this height in pixels."""
    return ImageFont.load_default(size)


@dataclass(frozen=True)
class Legend:
    """Swatches with names, in columns of at most ``rows`` entries."""

    entries: Sequence[Entry]
    text: int
    """Height of the text in pixels."""

    def columns(self, height: int) -> Image.Image:
        """Entries under one another, beginning a new column where the height is used up."""
        rows = max(1, height // self._step)
        return self._place([(i // rows, i % rows) for i in range(len(self.entries))])

    def lines(self, width: int) -> Image.Image:
        """Entries beside one another in columns of equal width, as many as the width allows."""
        columns = max(1, width // self._cell)
        return self._place([(i % columns, i // columns) for i in range(len(self.entries))])

    @property
    def _step(self) -> int:
        return round(1.6 * self.text)

    @property
    def _cell(self) -> int:
        widest = max((font(self.text).getlength(name) for _, name in self.entries), default=0)
        return round(widest + 3.6 * self.text)

    def _place(self, cells: Sequence[tuple[int, int]]) -> Image.Image:
        across = max((column for column, _ in cells), default=-1) + 1
        down = max((row for _, row in cells), default=-1) + 1
        canvas = Image.new("RGB", (max(1, across * self._cell), max(1, down * self._step)), PAPER)
        draw = ImageDraw.Draw(canvas)
        for (color, name), (column, row) in zip(self.entries, cells, strict=True):
            x, y = column * self._cell, row * self._step + self._step // 2
            half = self.text // 2
            swatch = (x, y - half, x + round(1.4 * self.text), y + half)
            draw.rounded_rectangle(swatch, radius=self.text // 5, fill=color, outline=FRAME)
            draw.text((x + 2 * self.text, y), name, fill=INK, font=font(self.text), anchor="lm")
        return canvas


def write_centered(draw: ImageDraw.ImageDraw, center: tuple[float, float], text: str, *, size: int, width: int) -> None:
    """Text in the middle of a place of this width, made smaller where it would not fit, down to 8 pixels."""
    fitting = size * width / max(font(size).getlength(text), 1)
    draw.text(center, text, fill=INK, font=font(min(size, max(8, fitting))), anchor="mm")


def framed(image: Image.Image) -> Image.Image:
    """The image with a thin line around it, drawn over its outermost pixels."""
    image = image.copy()
    ImageDraw.Draw(image).rectangle((0, 0, image.width - 1, image.height - 1), outline=FRAME)
    return image


def display_size(size: tuple[int, int], *, smallest: int, largest: int) -> tuple[int, int]:
    """(width, height) to show an image of (height, width) at.

    The longer side is at least ``smallest``, reached by a whole factor so that pixels stay square, and at most
    ``largest``.
    """
    height, width = size
    longer = max(size)
    factor = -(-smallest // longer) if longer < smallest else min(1, largest / longer)
    return max(1, round(width * factor)), max(1, round(height * factor))


def scale_photo(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resized to (width, height), smoothly."""
    return image.resize(size, Image.Resampling.BICUBIC if size[0] >= image.width else Image.Resampling.LANCZOS)


def scale_labels(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resized to (width, height): pixels stay pixels when enlarged, thin things fade rather than vanish when shrunk."""
    return image.resize(size, Image.Resampling.NEAREST if size[0] >= image.width else Image.Resampling.BOX)
