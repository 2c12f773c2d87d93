"""Where the pixels of an output grid lie along one axis of the image, in integers: what a pixel reads is decided
exactly, in whole images, boxes and tiles alike, and without freezing a size in an exported program.
"""

from __future__ import annotations

import math
import operator
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from featalign.errors import ConfigError

Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
_EXACT = 1 << 16  # edges on the pixel grid of an image up to this many pixels long are taken exactly
_FINE = 1 << 24  # all others are rounded to this fraction of the image


class PixelAxis(NamedTuple):
    """``length`` pixels whose centres are at ``(first + i * step) / whole`` of the image, i from 0."""

    length: int
    first: int
    step: int
    whole: int

    def part(self, start: int, stop: int) -> PixelAxis:
        """The pixels ``start`` … ``stop - 1`` alone."""
        return PixelAxis(stop - start, self.first + start * self.step, self.step, self.whole)

    def within(self, part: int, whole: int) -> PixelAxis:
        """The same pixels where what was the image is the first ``part`` of ``whole`` pixels of a larger one."""
        if _surely(self.whole == self.step * part):  # the image's own pixels
            return PixelAxis(self.length, self.first, self.step, self.step * whole)
        first, step, total = self.first * part, self.step * part, self.whole * whole
        common = 1 if torch.compiler.is_exporting() else math.gcd(first, step, total)
        return PixelAxis(self.length, first // common, step // common, total // common)

    @property
    def leads(self) -> int:
        """Of how many pixels, evenly over the whole image, these are the first; 0 if of none, or of far more."""
        if not (_surely(2 * self.first == self.step) and _surely(self.whole % self.step == 0)):
            return 0
        count = self.whole // self.step
        return count if torch.compiler.is_exporting() or 3 * count <= 4 * self.length else 0

    def period(self, cells: int) -> int:
        """After how many pixels their offsets to ``cells`` cells repeat: 4 for stride 4 on stride 16."""
        return self.whole // math.gcd(self.whole, self.step * cells)

    def on_centres(self, cells: int) -> bool:
        """Whether every pixel lies on the centre of one of ``cells`` cells."""
        return (self.step * cells) % self.whole == 0 and (2 * self.first * cells - self.whole) % (2 * self.whole) == 0

    def reach(self, cells: int, *, blend: bool) -> range:
        """Which of ``cells`` cells the pixels read: each its nearest one, or its two nearest for ``blend``."""
        ends = [2 * cells * (self.first + i * self.step) for i in (0, self.length - 1)]  # in 1 / (2 whole) of a cell
        low, high = (ends[0] - self.whole, ends[1] + self.whole) if blend else ends
        low, high = low // (2 * self.whole), high // (2 * self.whole)
        return range(min(max(low, 0), cells - 1), min(max(high, 0), cells - 1) + 1)

    def centres(self, *, device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """On [0, 1]: (length,)."""
        has_double = device is None or device.type != "mps"
        position = self.first + self.step * torch.arange(self.length, device=device if has_double else "cpu")
        return (position.double() / self.whole).to(device, dtype)


def pixel_axis(count: int, low: float = 0.0, high: float = 1.0) -> PixelAxis:
    """``count`` pixels that divide the part ``low`` … ``high`` of the image evenly."""
    if (low, high) == (0, 1):
        return PixelAxis(count, 1, 2, 2 * count)
    start, stop, parts = _edges(low, high)
    span = stop - start
    return PixelAxis(count, 2 * count * start + span, 2 * span, 2 * count * parts)


def pixel_axes(size: tuple[int, int], box: Box | None = None) -> tuple[PixelAxis, PixelAxis]:
    """Rows and columns of a grid of ``size`` (height, width) over ``box`` (left, top, right, bottom) in [0, 1].

    Raises:
        ConfigError: for what is no size, or below 1; for what is no box, or empty or not within the image.
    """
    height, width = checked_size(size)
    left, top, right, bottom = WHOLE if box is None else checked_box(box)
    return pixel_axis(height, top, bottom), pixel_axis(width, left, right)


def checked_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size as two whole numbers; in a program that is compiled, where they may be symbols, as it is.

    Raises:
        ConfigError: for any other, or below 1.
    """
    if torch.compiler.is_compiling():
        return size
    try:
        height, width = map(operator.index, size)
    except (TypeError, ValueError):
        raise ConfigError(f"size must be two whole numbers (height, width), got {size!r}") from None
    if height < 1 or width < 1:
        raise ConfigError(f"size must be at least (1, 1), got {size!r}")
    return height, width


def checked_box(box: Box) -> Box:
    """The box as plain numbers. Raises ConfigError for one that is empty or not within the image."""
    try:
        left, top, right, bottom = (float(edge) for edge in box)
        if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:  # neither if an edge is nan
            return left, top, right, bottom
    except (TypeError, ValueError):
        pass
    raise ConfigError(f"expected a box (left, top, right, bottom) within 0 … 1 and not empty, got {box!r}")


def _surely(fact: bool) -> bool:
    """A comparison of sizes; in an exported program, where they may be symbols, only what holds for all of them."""
    if not torch.compiler.is_exporting():
        return fact
    from torch.fx.experimental.symbolic_shapes import statically_known_true  # a second to import

    return statically_known_true(fact)


def _edges(low: float, high: float) -> tuple[int, int, int]:
    """Both edges as integers over a common third, the second one larger and at most that."""
    edges = [Fraction(edge).limit_denominator(_EXACT) for edge in (low, high)]
    parts = math.lcm(*(edge.denominator for edge in edges))
    exact = all(abs(float(fraction) - edge) < 1e-12 for fraction, edge in zip(edges, (low, high), strict=True))
    if exact and parts <= _FINE and edges[0] < edges[1]:
        return int(edges[0] * parts), int(edges[1] * parts), parts
    start = min(round(low * _FINE), _FINE - 1)
    return start, max(round(high * _FINE), start + 1), _FINE
