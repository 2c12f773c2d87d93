"""Labels as a GeoTIFF: tiled and compressed, in the classes' colours, lying where the image lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featalign.data.raster import Raster, quiet_rasterio
from featalign.figures.palette import VOID_COLOR
from featalign.files import atomic_path
from featalign.inference.network import Size
from featalign.inference.views import Edges
from featalign.spec import Classes

TILE = 512
_SMALLEST_OVERVIEW = 256
_MARK = "FEATALIGN"


@dataclass(frozen=True)
class Ids:
    """How class ids are stored. ``void``: what stands where the image has no pixel; ``dtype``: uint8 or uint16."""

    void: int
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, classes: Classes) -> Ids:
        """The classes' ignore index stands for void, unless it is a class or does not fit."""
        count = len(classes)
        void = classes.ignore_index
        if not count <= void < 2**16:
            void = 255 if count <= 255 else 2**16 - 1
        return cls(void, np.dtype(np.uint8 if max(void, count - 1) <= 255 else np.uint16))


@dataclass(frozen=True)
class Place:
    """Where an answer of size ``output`` lies: ``region`` (rows, columns) in [0, 1] of an image."""

    raster: Raster
    region: tuple[Edges, Edges]
    output: Size

    def profile(self) -> dict[str, Any]:
        """As rasterio takes it; empty if the image has no georeference."""
        dataset = self.raster.dataset
        points, system = dataset.gcps
        if points:
            return {"gcps": [self._moved(point) for point in points], "crs": system}
        if dataset.transform.is_identity:
            return {"crs": dataset.crs} if dataset.crs else {}
        affine, y, x = dataset.transform, float(self._start(0)), float(self._start(1))
        down, across = self._pitch(0), self._pitch(1)
        (a, b, c), (d, e, f) = (affine.a, affine.b, affine.c), (affine.d, affine.e, affine.f)
        moved = (a * across, b * down, a * x + b * y + c, d * across, e * down, d * x + e * y + f)
        return {"crs": dataset.crs, "transform": type(affine)(*moved)}

    def _moved(self, point: Any) -> Any:
        """A ground control point, at its row and column of the answer."""
        row, column = (
            (value - float(self._start(axis))) / self._pitch(axis) for axis, value in enumerate((point.row, point.col))
        )
        return type(point)(row=row, col=column, x=point.x, y=point.y, z=point.z, id=point.id, info=point.info)

    def _start(self, axis: int) -> Fraction:
        return self.region[axis][0] * self.raster.size[axis]

    def _pitch(self, axis: int) -> float:
        """Pixels of the image per pixel of the answer."""
        start, stop = self.region[axis]
        return float((stop - start) * self.raster.size[axis] / self.output[axis])


def write_labels(
    path: Path, rows: Callable[[range], NDArray[np.integer]], place: Place, classes: Classes, *, mark: str
) -> None:
    """Write an answer, row of tiles by row of tiles; ``path`` is there when it is complete.

    Args:
        path: of the file.
        rows: gives some rows of the answer in full width.
        place: of the answer.
        classes: named in the tag ``classes``; their colours become the palette.
        mark: by which :func:`mark_of` knows the file.

    Raises:
        FeatalignError: if it cannot be written.
    """
    ids, (height, width) = Ids.of(classes), place.output
    layout = {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "deflate", "bigtiff": "if_safer"}
    shape = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": ids.dtype, "nodata": ids.void}
    with quiet_rasterio() as rasterio, atomic_path(path) as temporary:
        with rasterio.open(temporary, "w", **shape, **layout, **place.profile()) as file:
            file.write_colormap(1, _colors(classes, ids))
            file.update_tags(**{_MARK: mark, "classes": json.dumps(classes.to_json()["classes"])})
            for top in range(0, height, TILE):
                part = range(top, min(top + TILE, height))
                file.write(rows(part), 1, window=((part.start, part.stop), (0, width)))
        _add_overviews(rasterio, temporary, place.output)


def mark_of(path: Path) -> str | None:
    """What :func:`write_labels` marked a file with; None if it is no such file."""
    with quiet_rasterio() as rasterio:
        try:
            with rasterio.open(path) as file:
                mark: str | None = file.tags().get(_MARK)
                return mark
        except rasterio.errors.RasterioIOError:
            return None


def read_reduced(path: Path, size: Size) -> NDArray[np.integer]:
    """The labels of a file at a smaller size, each of one pixel."""
    with quiet_rasterio() as rasterio, rasterio.open(path) as file:
        labels: NDArray[np.integer] = file.read(1, out_shape=size)
        return labels


def _add_overviews(rasterio: Any, path: Path, size: Size) -> None:
    """Halved, and halved again: a viewer shows the whole from the smallest."""
    factors: list[int] = []
    while max(size) > _SMALLEST_OVERVIEW << len(factors):
        factors.append(2 ** (len(factors) + 1))
    if factors:
        with rasterio.open(path, "r+") as file:
            file.build_overviews(factors, rasterio.enums.Resampling.nearest)


def _colors(classes: Classes, ids: Ids) -> dict[int, tuple[int, int, int]]:
    return {**dict(enumerate(classes.colors)), ids.void: VOID_COLOR}
