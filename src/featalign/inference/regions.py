"""A part of an image that an answer is wanted for."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from featalign.errors import ConfigError
from featalign.inference.network import Box, Size
from featalign.inference.views import ALL, Edges
from featalign.ops import checked_box


def region_of(box: Box | None, image: Size) -> tuple[tuple[Edges, Edges], Size]:
    """Rows and columns of ``box`` (left, top, right, bottom) in [0, 1], and its size in whole pixels of the image.

    Raises:
        ConfigError: if the box is empty or not inside the image.
    """
    if box is None:
        return ALL, image
    try:
        left, top, right, bottom = checked_box(box)
    except ConfigError:
        raise ConfigError(
            f"a box is (left, top, right, bottom), 0 <= left < right <= 1 and so downwards, got {box}"
        ) from None
    edges = (_edge(top, image[0]), _edge(bottom, image[0])), (_edge(left, image[1]), _edge(right, image[1]))
    height, width = (max(1, round((stop - start) * side)) for (start, stop), side in zip(edges, image, strict=True))
    return edges, (height, width)


def _edge(value: float, side: int) -> Fraction:
    """Exact where ``value`` means a border between two pixels, so that windows fit between cells."""
    pixel = round(value * side)
    return Fraction(pixel, side) if abs(value * side - pixel) < 1e-6 else Fraction(value)


@dataclass(frozen=True)
class Area:
    """A box as it is asked for on the command line: in [0, 1] of the image, or in its pixels."""

    edges: Box
    pixels: bool = False

    @classmethod
    def parse(cls, text: str) -> Area:
        """``left,top,right,bottom``: in [0, 1] if none is above 1, else in whole pixels. Raises ConfigError."""
        try:
            left, top, right, bottom = (float(part) for part in text.split(","))
        except ValueError as error:
            raise ConfigError(
                f'expected a box as left,top,right,bottom, like 0.25,0.5,0.75,1 or 100,200,500,400, got "{text}"'
            ) from error
        edges = left, top, right, bottom
        pixels = max(edges) > 1
        if not (0 <= left < right and 0 <= top < bottom) or (pixels and any(edge % 1 for edge in edges)):
            raise ConfigError(
                f'a box needs left < right and top < bottom, all in [0, 1] or all in pixels, got "{text}"'
            )
        return cls(edges, pixels)

    def within(self, image: Size) -> Box:
        """In [0, 1] of an image of this size. Raises ConfigError if it reaches out of it."""
        if not self.pixels:
            return self.edges
        left, top, right, bottom = self.edges
        height, width = image
        if right > width or bottom > height:
            raise ConfigError(f"the box {self} reaches out of an image of {width} x {height}")
        return left / width, top / height, right / width, bottom / height

    def __str__(self) -> str:
        return ",".join(f"{edge:g}" for edge in self.edges)
