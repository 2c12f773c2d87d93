"""Images larger than memory: read, segmented and written block by block, going on after an interruption."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featalign.data import Progress, silent
from featalign.data.raster import Raster, open_raster
from featalign.errors import ConfigError
from featalign.figures import overlay
from featalign.files import atomic_path
from featalign.inference.blocks import Block, Blocks
from featalign.inference.budget import mebibytes
from featalign.inference.checks import checked_size
from featalign.inference.geotiff import Ids, Place, read_reduced, write_labels
from featalign.inference.network import Size
from featalign.inference.parts import Parts
from featalign.inference.photo import as_rgb
from featalign.inference.predictor import Predictor, as_images
from featalign.inference.regions import Area, region_of
from featalign.inference.settings import settings_of
from featalign.inference.views import Edges

MARGIN = 128
PREVIEW = 2048
MEMORY = 2 * 2**30
_WINDOWS = (2048, 1536, 1024, 768, 512, 384, 256, 128)


def predict_raster(
    predictor: Predictor,
    image: Path | str,
    labels: Path | str,
    *,
    size: Size | None = None,
    input_size: Size | None = None,
    area: Area | None = None,
    margin: int = MARGIN,
    preview: Path | str | None = None,
    resume: bool = False,
    mark: str = "",
    progress: Progress = silent,
) -> None:
    """Segment an image file of any size into a GeoTIFF, in memory that does not grow with it.

    The network sees the image through overlapping windows, and each pixel is answered by one that shows at least
    ``margin`` pixels around it. The answer lies where the image lies; where the image has no data, nor has the answer.
    Finished blocks are kept beside ``labels`` until it is complete.

    Args:
        predictor: the model and how it is run. Its ``window`` is how much the network sees at a time, at scale 1; by
            default the largest square up to 2048 that ``max_memory`` allows (2 GiB if that is None).
        image: any file that rasterio opens, of the channels and depth that the model reads; one more band may be alpha.
        labels: the file to write: class ids with a palette.
        size: (height, width) of the answer, any; default the image's own, or that of the area in it.
        input_size: resize the image to this before the network sees it; scales are relative to it.
        area: answer for this part only.
        margin: in pixels that the network sees. Equal to the whole image's answer for networks that look no further;
            docs/huge-images.md says how near it comes otherwise.
        preview: also write an overlay of at most 2048 pixels a side here, as PNG.
        resume: go on with what an earlier call with the same image and settings left.
        mark: kept in the file, for whoever wants to know it again.
        progress: shows how far the loop over the blocks is.

    Raises:
        DataError: if the image cannot be used.
        ConfigError: if rasterio is not installed, an option does not fit, memory is too small for any window, or what
            an earlier call left is of another image or other settings.
        FeatalignError: if nothing can be written.
    """
    image, labels, model = Path(image), Path(labels), predictor.model
    _check(predictor, image, labels, margin)
    with open_raster(image, channels=model.in_channels, depth=predictor.depth) as raster:
        work = _Work.planned(predictor, raster, size=size, input_size=input_size, area=area, margin=margin)
        settings = settings_of(predictor, size=size, input_size=input_size, area=area, margin=margin)
        parts = Parts.beside(
            labels,
            {**settings, "window": work.blocks.window, "image": raster.digest(), "answer": work.blocks.output},
        )
        parts.claim(resume=resume)
        for block in progress(work.blocks, total=len(work.blocks), description=image.name):
            if not parts.done(block):
                parts.write(block, work.labels(block))
        place = Place(raster, work.blocks.region, work.blocks.output)
        write_labels(labels, partial(parts.rows, work.blocks, dtype=work.ids.dtype), place, model.classes, mark=mark)
        if preview is not None:
            _write_preview(Path(preview), labels, work)
        parts.remove()


def _check(predictor: Predictor, image: Path, labels: Path, margin: int) -> None:
    """Raises ConfigError for what has no meaning here."""
    if image.resolve() == labels.resolve():
        raise ConfigError(f"{image} would be overwritten by its answer; write that elsewhere")
    if margin < 0:
        raise ConfigError(f"a margin is a number of pixels, at least 0, got {margin}")
    if predictor.views.published is not None:
        raise ConfigError(
            f'the protocol "{predictor.views.published}" answers for whole images; leave it out for images that are '
            "seen in parts"
        )


@dataclass(frozen=True)
class _Work:
    """What is done for each block of an image."""

    predictor: Predictor
    raster: Raster
    blocks: Blocks
    memory: int
    ids: Ids

    @classmethod
    def planned(
        cls,
        predictor: Predictor,
        raster: Raster,
        *,
        size: Size | None,
        input_size: Size | None,
        area: Area | None,
        margin: int,
    ) -> _Work:
        """With the largest windows that fit. Raises ConfigError."""
        region, natural = region_of(area.within(raster.size) if area else None, raster.size)
        seen = checked_size("input_size", input_size) or raster.size
        output = checked_size("size", size) or natural
        scales, memory = predictor.views.scales, predictor.max_memory or MEMORY

        def works(window: Size) -> _Work:
            blocks = Blocks(raster.size, seen, region, output, window, margin, scales)
            return cls(predictor, raster, blocks, memory, Ids.of(predictor.model.classes))

        window = predictor.views.window
        chosen = works(window) if window else _largest(works, margin)
        rows, _ = chosen.blocks.pixels(chosen.blocks.views(next(iter(chosen.blocks))))
        raster.expect_parts(len(rows))
        return chosen

    def needed(self) -> int:
        """Bytes that a block takes at least."""
        block = next(iter(self.blocks))
        needs = self.predictor.needs(self.raster.size, block.size, self.blocks.views(block))
        return needs.total(1, keep=False) + 2 * self.ids.dtype.itemsize * block.size[0] * block.size[1]

    def labels(self, block: Block) -> NDArray[np.integer]:
        """The answer (h, w). Where the image has nothing at all, the network is not asked."""
        present = self._present(block)
        if present is not None and not present.any():
            return np.full(block.size, self.ids.void, self.ids.dtype)
        views = self.blocks.views(block)
        rows, columns = self.blocks.pixels(views)
        images = as_images(self.raster.read(rows, columns))
        picture = self.predictor.picture(images, whole=self.raster.size, origin=(rows.start, columns.start))
        found = self.predictor.average(picture, views, block.size, self.memory).labels()[0].cpu().numpy()
        labels: NDArray[np.integer] = found.astype(self.ids.dtype)
        if present is not None:
            labels[~present] = self.ids.void
        return labels

    def _present(self, block: Block) -> NDArray[np.bool_] | None:
        """Whether the image has the pixel under each pixel of a block; None if it has all."""
        if self.raster.complete:
            return None
        rows, columns = (
            _under(edges, count, length)
            for edges, count, length in zip(self.blocks.place(block), block.size, self.raster.size, strict=True)
        )
        part = self.raster.present(range(rows[0], rows[-1] + 1), range(columns[0], columns[-1] + 1))
        return part[np.ix_(rows - rows[0], columns - columns[0])]


def _largest(works: Callable[[Size], _Work], margin: int) -> _Work:
    """The work with the largest windows that fit into its memory. Raises ConfigError if none do."""
    least = 0
    for side in _WINDOWS:
        work = works((side, side))
        if least and side < 4 * margin:
            break
        least = work.needed()
        if least <= work.memory:
            return work
    raise ConfigError(
        f"a memory budget of {mebibytes(work.memory)} is too small for windows with a margin of {margin}: allow "
        f"{mebibytes(least)}, or a smaller margin"
    )


def _under(edges: Edges, count: int, length: int) -> NDArray[np.intp]:
    """The pixels, of ``length``, under the centres of ``count`` cells between ``edges``."""
    start, stop = (float(edge * length) for edge in edges)
    centres = start + (stop - start) * (np.arange(count) + 0.5) / count
    return np.clip(np.floor(centres).astype(np.intp), 0, length - 1)


def _write_preview(path: Path, labels: Path, work: _Work) -> None:
    """An overlay, at most ``PREVIEW`` pixels a side."""
    classes, output = work.predictor.model.classes, work.blocks.output
    factor = max(1, -(-max(output) // PREVIEW))
    size = -(-output[0] // factor), -(-output[1] // factor)
    rows, columns = (
        range(math.floor(start * length), math.ceil(stop * length))
        for (start, stop), length in zip(work.blocks.region, work.raster.size, strict=True)
    )
    ids = read_reduced(labels, size).astype(np.int64)
    ids[ids == work.ids.void] = classes.ignore_index
    picture = overlay(as_rgb(work.raster.reduced(rows, columns, size), size), ids, classes)
    with atomic_path(path) as temporary:
        picture.save(temporary)
