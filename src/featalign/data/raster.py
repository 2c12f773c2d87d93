"""Images of any size, read part by part with rasterio: GeoTIFF, and whatever else GDAL opens."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featalign.data import tiff
from featalign.data.reading import UnreadableError, naming, opened
from featalign.errors import ConfigError, DataError
from featalign.spec import Depth

if TYPE_CHECKING:
    from types import ModuleType

_LEAST_CACHE = 64 * 2**20


class Header(NamedTuple):
    """What is known of an image file before its pixels.

    ``size``: (height, width). ``tiff``: whether it is one. ``georeferenced``: whether a TIFF says where on Earth it
    lies. ``orientation``: by EXIF, 1 … 8. ``ambiguous``: why readers disagree about the values, if they do.
    """

    size: tuple[int, int]
    tiff: bool
    georeferenced: bool
    orientation: int
    ambiguous: str | None = None


def read_header(path: Path) -> Header | None:
    """None for a file that is none of the formats that are read whole, or damaged."""
    try:
        with naming(path), path.open("rb") as file:
            if tags := next(tiff.pages(file), None):
                georeferenced = any(tag in tags for tag in tiff.GEOREFERENCES)
                size = tags[tiff.HEIGHT], tags[tiff.WIDTH]
                return Header(size, True, georeferenced, tags.get(tiff.ORIENTATION, 1), tiff.ambiguous(tags))
        with opened(path, max_pixels=sys.maxsize) as image:
            return Header((image.height, image.width), False, False, image.getexif().get(tiff.ORIENTATION, 1))
    except UnreadableError:
        return None


def require_rasterio() -> ModuleType:
    """rasterio. Raises ConfigError if it is not installed."""
    try:
        import rasterio
    except ImportError as error:
        raise ConfigError(
            "georeferenced images, and images that are read in parts, need rasterio: pip install 'featalign[geo]'"
        ) from error
    return rasterio


@contextmanager
def quiet_rasterio() -> Iterator[ModuleType]:
    """:func:`require_rasterio`; while it lasts, images that lie nowhere on Earth are nothing to warn of."""
    rasterio = require_rasterio()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield rasterio


@dataclass(frozen=True)
class Raster:
    """An open image file.

    ``dataset``: rasterio's. ``bands``: those that are the image's channels, from 1; a grey image may stand for three.
    """

    path: Path
    dataset: Any
    bands: tuple[int, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.dataset.height, self.dataset.width

    def read(self, rows: range, columns: range) -> NDArray[np.integer]:
        """The pixels of a part, (h, w, channels), as they are stored. Raises DataError."""
        with naming(self.path):
            pixels = self.dataset.read(self.bands, window=_window(rows, columns))
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))

    def reduced(self, rows: range, columns: range, size: tuple[int, int]) -> NDArray[np.integer]:
        """A part averaged to ``size``, (h, w, channels). Raises DataError."""
        resampling = require_rasterio().enums.Resampling.average
        shape = (len(self.bands), *size)
        with naming(self.path):
            window = _window(rows, columns)
            pixels = self.dataset.read(self.bands, window=window, out_shape=shape, resampling=resampling)
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))

    @property
    def complete(self) -> bool:
        """Whether every pixel is said to be there: no nodata value, mask or alpha channel besides the image's own."""
        enums = require_rasterio().enums
        own = any(self.dataset.colorinterp[band - 1] is enums.ColorInterp.alpha for band in self.bands)
        whole, alpha = enums.MaskFlags.all_valid, enums.MaskFlags.alpha
        return all(whole in band or (own and alpha in band) for band in self.dataset.mask_flag_enums)

    def present(self, rows: range, columns: range) -> NDArray[np.bool_]:
        """Which pixels of a part are there, (h, w). Raises DataError."""
        with naming(self.path):
            return self.dataset.dataset_mask(window=_window(rows, columns)) > 0

    def expect_parts(self, rows: int) -> None:
        """Let GDAL keep what is decoded in reading parts of so many rows, from left to right: a file that is not
        stored in tiles is decoded in full width."""
        height, width = self.dataset.block_shapes[0]
        across = width == self.dataset.width
        pixel = self.dataset.count * np.dtype(self.dataset.dtypes[0]).itemsize
        needed = (rows + 2 * height) * width * pixel if across else 0
        require_rasterio().env.setenv(GDAL_CACHEMAX=max(_LEAST_CACHE, needed))

    def digest(self) -> str:
        """Of all bytes of the file, and of the files that belong to it."""
        return files_digest(Path(name) for name in self.dataset.files)


def files_digest(files: Iterable[Path]) -> str:
    """Of all bytes of some files; of what is no file, nothing."""
    digest = hashlib.sha256()
    for path in sorted(files):
        if path.is_file():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def raster_digest(path: Path) -> str:
    """:meth:`Raster.digest` of an image file of any kind. Raises DataError."""
    with quiet_rasterio() as rasterio, naming(path), _opened(path, rasterio) as dataset:
        return files_digest(Path(name) for name in dataset.files)


@contextmanager
def open_raster(path: Path, *, channels: int, depth: Depth) -> Iterator[Raster]:
    """An image file, to be read in parts.

    One band more than ``channels``, if it is alpha, says which pixels are there. Grey serves as three channels.

    Raises:
        DataError: naming the file, if it cannot be opened, or has other channels or another depth.
        ConfigError: if rasterio is not installed.
    """
    with quiet_rasterio() as rasterio, rasterio.Env(GDAL_CACHEMAX=_LEAST_CACHE):
        with naming(path):
            dataset = _opened(path, rasterio)
        with dataset:
            with naming(path):
                _check(dataset, path, depth)
                bands = _bands(dataset, channels)
            yield Raster(path, dataset, bands)


def _opened(path: Path, rasterio: ModuleType) -> Any:
    try:
        return rasterio.open(path)
    except rasterio.errors.RasterioIOError as error:
        known = "does not exist" if not path.exists() else f"cannot be opened as an image ({error})"
        raise UnreadableError(known) from error


def _check(dataset: Any, path: Path, depth: Depth) -> None:
    wanted = "uint8" if depth == 8 else "uint16"
    if set(dataset.dtypes) != {wanted}:
        raise DataError(
            f"{', '.join(sorted(set(dataset.dtypes)))} pixels, expected {wanted}; convert it: "
            f"gdal_translate -ot {'Byte' if depth == 8 else 'UInt16'} -scale …"
        )
    header = read_header(path)
    if header is not None and header.orientation != 1:
        raise DataError(f"is stored turned (EXIF orientation {header.orientation}); save it upright")
    if header is not None and header.ambiguous:
        raise DataError(
            f"{header.ambiguous}, of which readers make different values; convert it to 8-bit grey or RGB without alpha"
        )


def _bands(dataset: Any, channels: int) -> tuple[int, ...]:
    kinds = [color.name for color in dataset.colorinterp]
    if "palette" in kinds:
        raise DataError("has a palette; write its colours as channels: gdal_translate -expand rgb")
    count = len(kinds) - (kinds[-1] == "alpha" and len(kinds) != channels)
    if count == channels:
        return tuple(range(1, channels + 1))
    if channels == 3 and count == 1:
        return (1, 1, 1)
    chosen = " ".join(f"-b {band}" for band in range(1, channels + 1))
    raise DataError(
        f"{count} channels ({', '.join(kinds)}), expected {channels}; choose them: gdal_translate {chosen} -of VRT"
    )


def _window(rows: range, columns: range) -> tuple[tuple[int, int], tuple[int, int]]:
    return (rows.start, rows.stop), (columns.start, columns.stop)
