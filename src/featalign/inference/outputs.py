"""The files of a prediction: each complete or absent, and marked with what made them so that a run can go on."""

from __future__ import annotations

import io
import json
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from featalign.data.raster import files_digest, raster_digest
from featalign.data.reading import opened
from featalign.errors import DataError, FeatalignError
from featalign.figures import overlay
from featalign.figures.palette import label_image
from featalign.files import write_atomically
from featalign.inference.geotiff import mark_of
from featalign.inference.predictor import Prediction
from featalign.inference.settings import differing

_MARK = "featalign"


@dataclass(frozen=True)
class Outputs:
    """A folder of predictions that were all made with ``settings``.

    labels/NAME.png: class ids with a palette, 16 bits without beyond 256 classes; labels/NAME.tif of an image that is
    seen in parts. overlays/NAME.png: image, colours and legend. With ``probabilities``, probabilities/NAME.npz: float16
    (K, h, w), and ``classes``. manifest.json: the settings.
    """

    folder: Path
    settings: dict[str, object]
    probabilities: bool = False

    def claim(self, *, join: bool) -> None:
        """Write the manifest. ``join``: there may be one of the same settings only; else it is replaced.

        Raises:
            FeatalignError: if the folder holds predictions of other settings, or cannot be written.
        """
        path = self.folder / "manifest.json"
        if join and path.is_file():
            self._compare(path)
            return
        write_atomically(path, json.dumps(self.settings, indent=1) + "\n")
        if join:
            self._compare(path)  # another process may have been there at the same moment

    def _compare(self, path: Path) -> None:
        try:
            other = differing(path, self.settings)
        except (OSError, ValueError) as error:
            raise FeatalignError(f"{path}: cannot be read ({error}); remove it, or take another --out") from error
        if other:
            raise FeatalignError(
                f"{path}: the predictions there were made with other settings ({', '.join(other)}); take the same "
                "options, or another --out"
            )

    def complete(self, image: Path) -> bool:
        """Whether all files of ``image`` are there, made of it with these settings. The labels are written last."""
        if not self.overlay(image).is_file() or (self.probabilities and not self._probabilities(image).is_file()):
            return False
        try:
            with opened(self._labels(image), max_pixels=sys.maxsize) as labels:
                return bool(labels.info.get(_MARK) == self.mark(image))
        except DataError:
            return False

    def complete_raster(self, image: Path, mark: str) -> bool:
        """The same of an image that is seen in parts; ``mark``: its :meth:`raster_mark`."""
        labels = self.raster(image)
        return self.overlay(image).is_file() and labels.is_file() and mark_of(labels) == mark

    def write(self, image: Path, prediction: Prediction, picture: NDArray[np.uint8]) -> None:
        """The files of one image. ``picture``: uint8 (h, w, 3), what the colours are laid over."""
        labels, classes = prediction.labels, prediction.classes
        if prediction.probabilities is not None:
            buffer = io.BytesIO()
            values = prediction.probabilities.astype(np.float16)
            np.savez_compressed(buffer, probabilities=values, classes=np.array(classes.names))
            write_atomically(self._probabilities(image), buffer.getvalue())
        write_atomically(self.overlay(image), _png(overlay(picture, labels, classes)))
        mark = PngInfo()
        mark.add_text(_MARK, self.mark(image))
        write_atomically(self._labels(image), _png(label_image(labels, classes), mark))

    def mark(self, image: Path) -> str:
        """Tells settings and images apart, by all bytes of an image; the same on every machine."""
        return self._mark(image, files_digest([image]))

    def raster_mark(self, image: Path) -> str:
        """The same of an image that is seen in parts, by the bytes of all files that belong to it. Raises DataError."""
        return self._mark(image, raster_digest(image))

    def _mark(self, image: Path, digest: str) -> str:
        made = json.dumps([self.settings, image.name, digest], sort_keys=True)
        return f"{zlib.crc32(made.encode()):08x}"

    def raster(self, image: Path) -> Path:
        """Labels of an image that is seen in parts."""
        return self.folder / "labels" / f"{image.stem}.tif"

    def overlay(self, image: Path) -> Path:
        """The picture to look at."""
        return self.folder / "overlays" / f"{image.stem}.png"

    def _labels(self, image: Path) -> Path:
        return self.folder / "labels" / f"{image.stem}.png"

    def _probabilities(self, image: Path) -> Path:
        return self.folder / "probabilities" / f"{image.stem}.npz"


def _png(image: Image.Image, info: PngInfo | None = None) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()
