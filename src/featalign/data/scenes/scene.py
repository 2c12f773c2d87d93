"""One scene: its shapes from back to front, and the labels and images that sample them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from featalign.data.scenes.shapes import Floats, Rgb, Shape
from featalign.data.scenes.street import draw_street

# Points rendered at a time: few enough to stay in the processor's cache.
STRIP = 1 << 16


@dataclass(frozen=True)
class Light:
    """Brightness of the whole picture: its colour, and how much it rises to the right and to the bottom."""

    tint: Rgb
    slope: tuple[float, float]
    noise: float
    """Standard deviation of the camera's noise, in grey levels of 255."""


class Scene:
    """Shapes in front of one another; the front-most at a point decides its class and colour."""

    def __init__(self, shapes: Sequence[Shape], light: Light, *, seed: int) -> None:
        self.shapes = tuple(shapes)
        self.light = light
        self.seed = seed
        self._classes = np.array([shape.label for shape in self.shapes], dtype=np.int64)

    @classmethod
    def random(cls, seed: int) -> Scene:
        """The scene of this seed (>= 0), always the same."""
        rng = np.random.default_rng(seed)
        shapes = draw_street(rng)
        warmth = rng.uniform(-0.06, 0.06)
        bright = rng.uniform(0.8, 1.1)
        tint = (bright * (1 + warmth), bright, bright * (1 - warmth))
        slope = (rng.uniform(-0.3, 0.3), rng.uniform(-0.1, 0.15))
        return cls(shapes, Light(tint, slope, noise=rng.uniform(2, 5)), seed=seed)

    def labels(self, size: tuple[int, int]) -> NDArray[np.int64]:
        """Class of the front-most shape at each pixel's centre, ((j + 0.5) / w, (i + 0.5) / h): int64 (h, w)."""
        height, width = _checked(size)
        return self._classes[self._draw(_centers(width), _centers(height))]

    def labels_at(self, points: Floats) -> NDArray[np.int64]:
        """Class at any points (..., 2), each (x, y) in [0, 1]: int64 (...). Raises ValueError for another last axis."""
        points = np.asarray(points, dtype=np.float64)
        if points.shape[-1:] != (2,):
            raise ValueError(f"got points {points.shape}; expected (..., 2), each (x, y)")
        x, y = points[..., 0], points[..., 1]
        front = np.zeros(x.shape, dtype=np.int64)
        for index, shape in enumerate(self.shapes):
            front[shape.region.contains(x, y)] = index
        return self._classes[front]

    def image(self, size: tuple[int, int], supersample: int = 3) -> NDArray[np.uint8]:
        """The picture, uint8 (h, w, 3): each pixel the mean of ``supersample`` x ``supersample`` points, plus noise."""
        height, width = _checked(size)
        if supersample < 1:
            raise ValueError(f"got supersample={supersample}; expected at least 1")
        x, y = _centers(width * supersample), _centers(height * supersample)
        rows = max(1, STRIP // (len(x) * supersample)) * supersample
        strips = [_shrink(self._paint(x, y[start : start + rows]), supersample) for start in range(0, len(y), rows)]
        return self._expose(np.concatenate(strips, axis=1))

    def _draw(self, x: Floats, y: Floats, tones: NDArray[np.float32] | None = None) -> NDArray[np.int16]:
        """Index of the front-most shape at columns x and rows y; writes the shapes' tones into ``tones`` if given."""
        front = np.zeros((len(y), len(x)), dtype=np.int16)
        for index, shape in enumerate(self.shapes):
            x0, y0, x1, y1 = shape.region.bounds
            columns, rows = _span(x, x0, x1), _span(y, y0, y1)
            inside = shape.region.contains(x[None, columns], y[rows, None])
            if not inside.any():
                continue
            np.copyto(front[rows, columns], np.int16(index), where=inside)
            if tones is not None:
                np.copyto(tones[rows, columns], shape.paint.pattern(x[columns], y[rows]), where=inside)
        return front

    def _paint(self, x: Floats, y: Floats) -> NDArray[np.float32]:
        """Colours at columns x and rows y: (3, h, w)."""
        tones = np.zeros((len(y), len(x)), dtype=np.float32)
        front = self._draw(x, y, tones)
        first = np.array([shape.paint.first for shape in self.shapes], dtype=np.float32).T
        change = np.array([shape.paint.second for shape in self.shapes], dtype=np.float32).T - first
        return np.stack([f[front] + c[front] * tones for f, c in zip(first, change, strict=True)])

    def _expose(self, colors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Lights colours (3, h, w), adds noise and rounds to (h, w, 3). The noise alone differs from size to size."""
        _, height, width = colors.shape
        slope_x, slope_y = self.light.slope
        light = 1 + slope_x * (_centers(width)[None] - 0.5) + slope_y * (_centers(height)[:, None] - 0.5)
        tint = np.array(self.light.tint, dtype=np.float32)[:, None, None]
        noise = np.random.default_rng((self.seed, height, width)).standard_normal(colors.shape, dtype=np.float32)
        levels = 255 * colors * tint * light.astype(np.float32) + self.light.noise * noise
        return np.clip(np.rint(levels), 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()


def _checked(size: tuple[int, int]) -> tuple[int, int]:
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"got size {size}; expected (height, width) of at least one pixel")
    return size


def _centers(count: int) -> Floats:
    return (np.arange(count) + 0.5) / count


def _span(positions: Floats, low: float, high: float) -> slice:
    """The ascending positions in [low, high], give or take rounding: the region itself decides exactly."""
    return slice(*np.searchsorted(positions, (low - 1e-9, high + 1e-9)))


def _shrink(colors: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Means over blocks of factor x factor: (3, h * factor, w * factor) -> (3, h, w)."""
    rows = reduce(np.add, (colors[:, i::factor] for i in range(factor)))
    return reduce(np.add, (rows[:, :, j::factor] for j in range(factor))) / np.float32(factor**2)
