"""Predictions as files: many images, in shards, going on after an interruption, whatever single images are like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featalign.align.budget import free_bytes
from featalign.data import Progress, silent
from featalign.data.pairs import IMAGE_SUFFIXES
from featalign.data.raster import read_header
from featalign.errors import ConfigError, DataError
from featalign.inference.budget import check_room
from featalign.inference.failures import Failures, memory_named
from featalign.inference.large import MARGIN, predict_raster
from featalign.inference.listing import Shard
from featalign.inference.network import Box, Size
from featalign.inference.outputs import Outputs
from featalign.inference.parts import Parts
from featalign.inference.photo import as_rgb
from featalign.inference.predictor import Predictor
from featalign.inference.regions import Area
from featalign.inference.settings import settings_of

_PIXEL_BYTES = 16
"""Of an answer: what labels, overlay and what it is drawn from take at least."""

_MEMORY = "set a budget with --max-memory, or show the network windows (--window)"


def predict_files(
    predictor: Predictor,
    images: Sequence[Path],
    out: Path,
    *,
    size: Size | None = None,
    input_size: Size | None = None,
    area: Area | None = None,
    probabilities: bool = False,
    margin: int = MARGIN,
    parts: bool | None = None,
    shard: Shard | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> dict[Path, str]:
    """Segment ``images`` into the files of :class:`~featalign.inference.outputs.Outputs` in ``out``.

    One bad image does not stop the others: it is written with the reason, when it happens, to failures.jsonl (of
    shard i of n: failures-i-of-n.jsonl), and tried again by the next run.

    GeoTIFFs, and other TIFFs that are too large to be read or seen whole, are seen in parts and answered by a GeoTIFF,
    see :func:`~featalign.inference.predict_raster`. They come last.

    Args:
        predictor: the model and how it is run.
        images: all of them, whatever the shard.
        out: the folder.
        size, input_size, probabilities: as for :class:`Predictor`.
        area: answer for this part of each image only.
        margin: of images that are seen in parts.
        parts: see all images in parts, or none. None decides by the image.
        shard: segment only the images of this part: several processes or machines may write to one folder.
        resume: leave out the images whose files are complete, and the finished parts of others. Files are written whole
            or not at all, so a run may be killed at any time.
        progress: shows how far the loop is.

    Returns:
        The images that failed, with the reason.

    Raises:
        FeatalignError: if ``out`` cannot be written; with ``shard`` or ``resume`` if it holds predictions of other
            settings.
    """
    job = Job(
        predictor,
        out,
        size=size,
        input_size=input_size,
        area=area,
        probabilities=probabilities,
        margin=margin,
        parts=parts,
        resume=resume,
    )
    job.outputs.claim(join=resume or shard is not None)
    failures = Failures(out, shard)
    mine = shard.of(images) if shard else images
    large: list[Path] = []
    for path in progress(mine, total=len(mine), description="predicting"):
        if job.in_parts(path):
            large.append(path)
        elif reason := job.whole(path):
            failures.add(path, reason)
    for path in large:
        if reason := job.part_by_part(path, progress):
            failures.add(path, reason)
    return failures.reasons


@dataclass(frozen=True)
class Job:
    """What is done with every image of a call of :func:`predict_files`, which explains the fields."""

    predictor: Predictor
    out: Path
    size: Size | None = None
    input_size: Size | None = None
    area: Area | None = None
    probabilities: bool = False
    margin: int = MARGIN
    parts: bool | None = None
    resume: bool = False

    @cached_property
    def outputs(self) -> Outputs:
        """The folder, to be claimed before the first image."""
        settings = settings_of(
            self.predictor, size=self.size, input_size=self.input_size, area=self.area, margin=self.margin
        )
        return Outputs(self.out, settings, self.probabilities)

    def __call__(self, path: Path) -> str | None:
        """Segment and write one image. The reason if it failed. Raises FeatalignError if it cannot be written."""
        return self.part_by_part(path) if self.in_parts(path) else self.whole(path)

    def in_parts(self, path: Path) -> bool:
        """Whether an image is seen in parts: a TIFF that says where on Earth it lies, is larger than what is read
        whole, or takes more memory to be seen whole than there is; or a format that only GDAL knows."""
        if self.parts is not None:
            return self.parts
        header = read_header(path)
        if header is None:
            return path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES
        if not header.tiff or header.georeferenced:
            return header.georeferenced
        height, width = header.size
        return height * width > self.predictor.max_pixels or not self._fits(header.size)

    def _fits(self, image: Size) -> bool:
        """Whether there is memory to see an image as the predictor's views say."""
        output = self.size or image
        try:
            views = self.predictor.views.of(self.input_size or image, output)
        except ConfigError:  # windows that do not fit the answer: said when the image is seen
            return True
        memory = self.predictor.max_memory or free_bytes(self.predictor.device) // 2
        return self.predictor.needs(image, output, views).total(1, keep=False) <= memory

    def part_by_part(self, path: Path, progress: Progress = silent) -> str | None:
        """The same for an image that is seen in parts."""
        if self.probabilities:
            return "probabilities are written of whole images only; leave them out, or see it whole (--no-parts)"
        try:
            mark = self.outputs.raster_mark(path)
            if self.resume and self.outputs.complete_raster(path, mark):
                Parts.beside(self.outputs.raster(path)).remove()  # of a run that ended before it could
                return None
            with memory_named(path, advice=_MEMORY):
                predict_raster(
                    self.predictor,
                    path,
                    self.outputs.raster(path),
                    size=self.size,
                    input_size=self.input_size,
                    area=self.area,
                    margin=self.margin,
                    preview=self.outputs.overlay(path),
                    resume=self.resume,
                    mark=mark,
                    progress=progress,
                )
        except (DataError, ConfigError) as error:
            return str(error)
        return None

    def whole(self, path: Path) -> str | None:
        """The same for an image that is seen whole."""
        if self.resume and self.outputs.complete(path):
            return None
        try:
            check_room(self.size or (0, 0), _PIXEL_BYTES, otherwise=", or have it written in blocks (--parts)")
            pixels = self.predictor.read(path)
            box = self.area.within((pixels.shape[0], pixels.shape[1])) if self.area else None
            with memory_named(path, advice=_MEMORY):
                found = self.predictor(
                    pixels,
                    size=self.size,
                    input_size=self.input_size,
                    box=box,
                    probabilities=self.probabilities,
                )
        except (DataError, ConfigError) as error:
            return str(error)
        self.outputs.write(path, found, as_rgb(_cut(pixels, box), found.labels.shape))
        return None


def _cut(pixels: NDArray[np.integer], box: Box | None) -> NDArray[np.integer]:
    if box is None:
        return pixels
    height, width = pixels.shape[:2]
    left, top, right, bottom = (round(edge * side) for edge, side in zip(box, (width, height) * 2, strict=True))
    return pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
