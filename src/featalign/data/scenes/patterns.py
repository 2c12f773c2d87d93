"""Textures: continuous functions of position with values in [0, 1], asked on a grid of columns x and rows y."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Tones = NDArray[np.float32]


class Pattern(Protocol):
    """The tones at columns x (w,) and rows y (h,)."""

    def __call__(self, x: Floats, y: Floats) -> Tones:
        """float32, of a shape that broadcasts to (h, w)."""


@dataclass(frozen=True)
class Flat:
    """The first colour everywhere."""

    def __call__(self, x: Floats, y: Floats) -> Tones:
        return np.zeros((1, 1), dtype=np.float32)


@dataclass(frozen=True)
class Gradient:
    """From 0 at ``top`` to 1 at ``bottom``."""

    top: float
    bottom: float

    def __call__(self, x: Floats, y: Floats) -> Tones:
        share: Floats = (y[:, None] - self.top) / (self.bottom - self.top)
        return share.clip(0, 1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Noise:
    """Value noise: random numbers on a square lattice over the whole image, blended smoothly in between."""

    lattice: Tones

    @classmethod
    def random(cls, rng: np.random.Generator, *, cells: int) -> Noise:
        return cls(rng.random((cells + 1, cells + 1), dtype=np.float32))

    def __call__(self, x: Floats, y: Floats) -> Tones:
        rows, columns = (self._blend(axis, len(self.lattice)) for axis in (y, x))
        return np.dot(np.dot(rows, self.lattice), columns.T)

    @staticmethod
    def _blend(position: Floats, knots: int) -> Tones:
        """(n, knots) weights of the lattice lines at each position."""
        position = np.clip(position, 0, 1) * (knots - 1)
        cell = np.minimum(position.astype(np.int64), knots - 2)
        share = position - cell
        share *= share * (3 - 2 * share)
        weights = np.zeros((len(position), knots), dtype=np.float32)
        rows = np.arange(len(position))
        weights[rows, cell] = 1 - share
        weights[rows, cell + 1] = share
        return weights


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows on an upright facade: ``lit`` holds the tone of each, (floors, columns), repeated beyond."""

    corner: tuple[float, float]
    pitch: tuple[float, float]
    share: tuple[float, float]
    lit: Tones

    def __call__(self, x: Floats, y: Floats) -> Tones:
        columns, across = np.divmod((x - self.corner[0]) / self.pitch[0], 1)
        floors, up = np.divmod((y - self.corner[1]) / self.pitch[1], 1)
        seen = (np.abs(up - 0.5) < self.share[1] / 2)[:, None] & (np.abs(across - 0.5) < self.share[0] / 2)[None]
        rows, places = (index.astype(np.int64) % n for index, n in zip((floors, columns), self.lit.shape, strict=True))
        return self.lit[np.ix_(rows, places)] * seen


@dataclass(frozen=True)
class WallWindows:
    """Windows on a wall that runs along the street, from x at scale s = (x - vanish) / lateral towards s = 0."""

    vanish: tuple[float, float]
    lateral: float
    pitch: tuple[float, float]
    share: tuple[float, float]

    def __call__(self, x: Floats, y: Floats) -> Tones:
        scale = np.maximum((x - self.vanish[0]) / self.lateral, 1e-3)
        along = np.mod(1 / scale / self.pitch[0], 1)
        height = (y[:, None] - self.vanish[1]).astype(np.float32) / (scale * self.pitch[1]).astype(np.float32)
        seen = np.abs(height - np.floor(height) - 0.5) < self.share[1] / 2
        return (seen & (np.abs(along - 0.5) < self.share[0] / 2)).astype(np.float32)
