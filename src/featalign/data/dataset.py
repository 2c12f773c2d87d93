"""One split of any layout as a PyTorch dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from torchvision import tv_tensors

from featalign.data.cache import Stored, fitting, smallest
from featalign.data.images import load_image, load_mask, parse_depth
from featalign.data.layouts.base import Labels
from featalign.data.pairs import Pair
from featalign.data.progress import threaded
from featalign.data.reading import DEFAULT_MAX_PIXELS, UnreadableError
from featalign.data.sample import Sample
from featalign.errors import ConfigError, DataError
from featalign.spec import Classes, Depth

OnError = Literal["stop", "skip"]


class SegmentationDataset(Dataset[Sample]):
    """Pairs of images and masks, read when they are asked for; masks become class ids by ``labels``.

    Opened by :func:`featalign.data.open_dataset`. ``channels``, ``depth`` and ``max_pixels`` are those of
    :func:`~featalign.data.read_image`; ``transform`` maps a sample to a sample. ``cache=True`` keeps decoded samples in
    memory (for 8 bits C + 1 bytes per pixel), as many as fit into half of what is free.

    ``on_error="skip"``: what :func:`~featalign.data.load_batches`, :class:`~featalign.data.TrainingLoader` and
    iteration cannot read they leave out and count in ``skipped``; indexing raises all the same. Values that are no
    class always stop: they are a fault of the convention, not of a file.

    Attributes:
        samples: name, image and mask file of each sample, sorted by name.
        skipped: the reason for each sample left out so far, by name.
        notes: what is worth knowing, such as a cache that is smaller than the set.

    Raises:
        UnreadableError: (a DataError) on indexing, if a file is missing or damaged, or the sizes of a pair differ.
        DataError: on indexing, if files are of another kind than expected or a mask holds a value that is no class.
    """

    def __init__(
        self,
        samples: Sequence[Pair],
        labels: Labels,
        *,
        channels: int = 3,
        depth: Depth = 8,
        transform: Callable[[Sample], Sample] | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        cache: bool = False,
        on_error: OnError = "stop",
    ) -> None:
        if on_error not in ("stop", "skip"):
            raise ConfigError(f"on_error must be stop or skip, got {on_error!r}")
        self.samples, self.labels = tuple(samples), labels
        self.channels, self.depth, self.max_pixels = channels, parse_depth(depth), max_pixels
        self.transform = transform
        self.on_error = on_error
        self.skipped: dict[str, str] = {}
        self.notes: tuple[str, ...] = ()
        self._cache: dict[int, Stored] = {}
        self._cached = 0
        if cache:
            self._cached, self.notes = fitting(self.samples, channels=channels, depth=depth, max_pixels=max_pixels)

    @property
    def classes(self) -> Classes:
        """Names and colours."""
        return self.labels.classes

    @property
    def categories(self) -> tuple[str, ...]:
        """The group of each class, where the benchmark scores groups too; else empty."""
        return self.labels.categories

    @property
    def instance_classes(self) -> tuple[int, ...]:
        """Ids of the classes whose objects :meth:`instances` tells apart; empty unless all samples have them."""
        told = self.labels.instances
        return told.classes if told and self.samples and all(pair.instances for pair in self.samples) else ()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        sample = self._sample(index)
        return self.transform(sample) if self.transform else sample

    def __iter__(self) -> Iterator[Sample]:
        """Every sample in order; with ``on_error="skip"`` without those that cannot be read."""
        for index in range(len(self)):
            try:
                yield self[index]
            except UnreadableError as error:
                self.leave_out(index, error)

    def leave_out(self, index: int, error: UnreadableError) -> None:
        """Count a sample that cannot be read in ``skipped``. Raises ``error`` with ``on_error="stop"``."""
        if self.on_error == "stop":
            raise error
        self.skipped[self.samples[index].name] = str(error)

    def ids(self, index: int) -> NDArray[np.integer]:
        """The class ids (H, W) of one mask alone, without its image."""
        stored = self._cache.get(index)
        return stored.mask if stored else self._ids(self.samples[index])

    def pixels(self, index: int) -> NDArray[np.integer]:
        """The image (H, W, C) of one sample alone, as it is stored."""
        stored = self._cache.get(index)
        return stored.image if stored else self._pixels(self.samples[index])

    def instances(self, index: int) -> NDArray[np.int32] | None:
        """The number of the object at each pixel of one mask, int32 (H, W), 0 where there is none; read anew each time.

        None if the sample has no file that tells. Raises UnreadableError if it is damaged.
        """
        told, file = self.labels.instances, self.samples[index].instances
        if told is None or file is None:
            return None
        values = load_mask(file, self.max_pixels).pixels.astype(np.int32)
        return np.where(values >= told.first, values, 0)

    def fill_cache(self) -> None:
        """Decode what is to be kept, by threads, so that worker processes started later share it."""
        missing = [index for index in range(self._cached) if index not in self._cache]
        for _ in threaded(self._try, missing):
            pass

    def _try(self, index: int) -> None:
        """A file that cannot be read complains when it is asked for."""
        with suppress(DataError):
            self._stored(index)

    def _sample(self, index: int) -> Sample:
        stored = self._stored(index)
        image = torch.from_numpy(stored.image if self.depth == 8 else stored.image.astype(np.float32))
        return {
            "image": tv_tensors.Image(image.permute(2, 0, 1)),
            "mask": tv_tensors.Mask(torch.from_numpy(stored.mask.astype(np.int64))),
            "name": self.samples[index].name,
        }

    def _stored(self, index: int) -> Stored:
        if index in self._cache:
            return self._cache[index]
        index = range(len(self))[index]
        stored = self._read(self.samples[index])
        if index < self._cached:
            self._cache[index] = Stored(stored.image, smallest(stored.mask))
        return stored

    def _read(self, pair: Pair) -> Stored:
        image, ids = self._pixels(pair), self._ids(pair)
        check_sizes(pair, image, ids)
        return Stored(image, ids)

    def _pixels(self, pair: Pair) -> NDArray[np.integer]:
        return load_image(pair.image, channels=self.channels, depth=self.depth, max_pixels=self.max_pixels).pixels

    def _ids(self, pair: Pair) -> NDArray[np.int64]:
        values = self.labels.read(pair.mask, self.max_pixels).pixels
        try:
            return self.labels.map.apply(values)
        except DataError as error:
            raise DataError(f"{pair.mask}: {error}") from error


def check_sizes(pair: Pair, image: NDArray[np.integer], mask: NDArray[np.integer]) -> None:
    """Raises UnreadableError with both sizes if they differ."""
    if image.shape[:2] != mask.shape:
        raise UnreadableError(
            f"{pair.mask}: mask of {mask.shape[1]} x {mask.shape[0]} for an image of {image.shape[1]} x "
            f"{image.shape[0]} ({pair.image}); sizes (after EXIF rotation) must be equal"
        )
