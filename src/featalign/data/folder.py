"""A folder of one's own images and masks as a PyTorch dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from torchvision import tv_tensors

from featalign.data.findings import summary
from featalign.data.images import read_image, read_mask
from featalign.data.labels import check_labels
from featalign.data.layout import LAYOUT, Pair, read_classes, scan_split
from featalign.data.reading import DEFAULT_MAX_PIXELS
from featalign.data.sample import Sample
from featalign.errors import DataError


class FolderDataset(Dataset[Sample]):
    """One split of ``root``: ``classes.json`` and ``{split}/images/NAME.*`` with ``{split}/masks/NAME.png``.

    Files are opened when they are asked for. ``channels`` and ``max_pixels`` are those of :func:`read_image`;
    ``transform`` maps a sample to a sample. ``cache=True`` keeps every decoded sample in memory (C + 8 bytes per
    pixel, once in each worker process), for small sets that are read many times.

    Attributes:
        classes: names and colours, from ``classes.json``.
        samples: name, image path and mask path of each sample, sorted by name.

    Raises:
        DataError: if the folder has not this layout, or a file of the split has no partner. On indexing: if a file is
            damaged, the sizes of a pair differ, or a mask holds a value that is no class.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        channels: int = 3,
        transform: Callable[[Sample], Sample] | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        cache: bool = False,
    ) -> None:
        root = Path(root)
        self.classes = read_classes(root)
        self.samples = _complete_pairs(root, split)
        self.channels = channels
        self.transform = transform
        self.max_pixels = max_pixels
        self._cache: dict[int, Sample] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        sample = self._stored(index)
        return self.transform(sample) if self.transform else sample

    def _stored(self, index: int) -> Sample:
        if self._cache is None:
            return self._read(self.samples[index])
        if index not in self._cache:
            self._cache[index] = self._read(self.samples[index])
        return self._cache[index].copy()

    def _read(self, pair: Pair) -> Sample:
        image = read_image(pair.image, channels=self.channels, max_pixels=self.max_pixels)
        mask = read_mask(pair.mask, max_pixels=self.max_pixels)
        check_sizes(pair, image, mask)
        try:
            check_labels(mask, self.classes)
        except DataError as error:
            raise DataError(f"{pair.mask}: {error}") from error
        return {
            "image": tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)),
            "mask": tv_tensors.Mask(torch.from_numpy(mask.astype(np.int64))),
            "name": pair.name,
        }


def check_sizes(pair: Pair, image: NDArray[np.uint8], mask: NDArray[np.integer]) -> None:
    """Raises DataError with both sizes if they differ."""
    if image.shape[:2] != mask.shape:
        raise DataError(
            f"{pair.mask}: mask of {mask.shape[1]} x {mask.shape[0]} for an image of {image.shape[1]} x "
            f"{image.shape[0]} ({pair.image}); sizes (after EXIF rotation) must be equal"
        )


def _complete_pairs(root: Path, split: str) -> tuple[Pair, ...]:
    scanned = scan_split(root, split)
    if scanned.errors:
        raise DataError(f"{summary(scanned.errors)}; {LAYOUT}; `featalign check-data {root}` lists everything")
    return scanned.pairs
