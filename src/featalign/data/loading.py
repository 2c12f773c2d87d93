"""Batches whose every pixel is a function of (seed, k): the same with any number of workers, and after a resume.

A batch is a list of draws; a draw names a sample and the seed of its augmentation. Nothing random is left to workers.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Generic, Protocol, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from featalign.data.dataset import SegmentationDataset
from featalign.data.reading import UnreadableError
from featalign.data.sample import Sample
from featalign.errors import ConfigError, DataError


class Batch(TypedDict):
    """``image``: (B, C, H, W), as samples hold it; ``mask``: class ids, int64 (B, H, W); ``name``: of each sample."""

    image: Tensor
    mask: Tensor
    name: list[str]


S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
B = TypeVar("B")


class DataSet(Protocol[S_co]):
    """Any data set that can be indexed."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> S_co: ...


Samples = DataSet[Sample]
"""Any data set of images with masks."""


@dataclass(frozen=True)
class Draw:
    """Which sample, and the seed of its augmentation."""

    index: int
    seed: int


class EndlessBatches(Sampler[list[Draw]]):
    """Batches ``start`` … ``stop - 1`` of an endless stream of shuffled epochs, without replacement in each.

    Batch k holds positions ``k * batch`` … ``(k + 1) * batch - 1`` of the stream, so batches are always full and may
    span two epochs. With several ``ranks``, they share each step: the stream is that of one process with ``ranks *
    batch``. ``len`` is ``stop``, the total, however many of them are already done.

    Raises:
        DataError: if there is no sample to draw from.
    """

    def __init__(
        self, samples: int, *, batch: int, seed: int, stop: int, start: int = 0, rank: int = 0, ranks: int = 1
    ) -> None:
        if samples < 1:
            raise DataError("no sample to draw batches from")
        if batch < 1 or not 0 <= rank < ranks:
            raise ConfigError(f"expected batch >= 1 and 0 <= rank < ranks, got {batch}, {rank} and {ranks}")
        self.samples, self.batch, self.seed = samples, batch, seed
        self.start, self.stop = start, stop
        self.rank, self.ranks = rank, ranks

    def __len__(self) -> int:
        return self.stop

    def __iter__(self) -> Iterator[list[Draw]]:
        return (self.at(k) for k in range(self.start, self.stop))

    def at(self, k: int) -> list[Draw]:
        """Batch ``k``."""
        first = (k * self.ranks + self.rank) * self.batch
        return [self._draw(position) for position in range(first, first + self.batch)]

    def _draw(self, position: int) -> Draw:
        epoch, place = divmod(position, self.samples)
        seed = np.random.SeedSequence([self.seed, position]).generate_state(1)[0]
        return Draw(_order(self.samples, self.seed, epoch)[place], int(seed))


class TrainingLoader(Generic[S, B]):
    """The batches of ``sampler``, loaded by ``workers`` processes (0: by this one); can be resumed.

    ``collated`` makes a batch of samples; :func:`collate` where nothing is said. ``state_dict`` holds the next batch's
    number. ``len`` is the number of batches of the whole run.
    """

    def __init__(
        self,
        dataset: DataSet[S],
        sampler: EndlessBatches,
        *,
        collated: Callable[[list[S]], B] | None = None,
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.dataset, self.sampler = dataset, sampler
        self.collated: Callable[[list[S]], B] = collated or collate  # type: ignore[assignment]
        self.workers, self.pin_memory = workers, pin_memory
        self._next = sampler.start

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[B]:
        self.sampler.start = self._next
        for batch in load_collated(
            self.dataset,
            self.sampler,
            self.collated,
            workers=self.workers,
            pin_memory=self.pin_memory,
            replace=True,
        ):
            self._next += 1  # before the batch is used: a checkpoint written during its step resumes after it
            yield batch

    def state_dict(self) -> dict[str, int]:
        """What :meth:`load_state_dict` takes to go on."""
        return {"next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where ``state`` was taken."""
        self._next = state["next"]


def load_batches(dataset: Samples, batches: Iterable[list[Draw]], *, workers: int = 0) -> Iterator[Batch]:
    """:func:`load_collated`, of images with masks."""
    return load_collated(dataset, batches, collate, workers=workers)


def load_collated(
    dataset: DataSet[S],
    batches: Iterable[list[Draw]],
    collated: Callable[[list[S]], B],
    *,
    workers: int = 0,
    pin_memory: bool = False,
    replace: bool = False,
) -> Iterator[B]:
    """Load batches of draws in their order. A DataError in a worker process arrives here as it was raised there.

    Of a dataset that skips, a sample that cannot be read is counted in its ``skipped`` and left out (a batch of nothing
    is not given), or with ``replace`` the next readable one takes its place, so that batches stay full. What a dataset
    keeps in memory is decoded before workers start, so that they share it.
    """
    fill_cache = getattr(dataset, "fill_cache", None)
    if workers and fill_cache is not None:
        fill_cache()
    loader = DataLoader(
        _Drawn(dataset, replace=replace),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=partial(_collated_or_error, collated),
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else the loader draws from the global one, whenever it happens to begin
        worker_init_fn=_leave_interrupts,
    )
    for loaded in loader:
        if isinstance(loaded, DataError):
            raise loaded
        batch, skipped = loaded
        if isinstance(dataset, SegmentationDataset):
            dataset.skipped |= skipped
        if batch is not None:
            yield batch


def in_order(samples: int, *, rank: int = 0, ranks: int = 1) -> list[list[Draw]]:
    """Every sample once, one by one, each on exactly one rank: for :func:`load_batches` to evaluate."""
    return [[Draw(index, 0)] for index in range(rank, samples, ranks)]


def collate(samples: list[Sample]) -> Batch:
    """Samples of one size as a batch. Raises DataError with the sizes if they differ."""
    sizes = {tuple(sample["image"].shape) for sample in samples}
    if len(sizes) > 1:
        raise DataError(
            f"images of different shapes in one batch: {sorted(sizes)}; crop them to one size or use batch 1"
        )
    return {
        "image": torch.stack([sample["image"].as_subclass(Tensor) for sample in samples]),
        "mask": torch.stack([sample["mask"].as_subclass(Tensor) for sample in samples]),
        "name": [sample["name"] for sample in samples],
    }


Skipped = dict[str, str]
"""Why samples were left out, by name."""


def _leave_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal; the one that trains decides, and needs its batches until then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Drawn(Dataset[Any]):
    """Answers draws. Errors are handed on as values, since PyTorch would wrap them in a worker's traceback."""

    def __init__(self, dataset: DataSet[Any], *, replace: bool) -> None:
        self.dataset = dataset
        self.replace = replace

    def __getitem__(self, draw: Draw) -> tuple[Any, Skipped] | DataError:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(draw.seed)  # torch.manual_seed would reach for the GPU's, too
            try:
                return self._readable(draw.index)
            except DataError as error:
                return error

    def _readable(self, index: int) -> tuple[Any, Skipped]:
        """The sample, or what stands for it; and what had to be skipped for that."""
        if not (isinstance(self.dataset, SegmentationDataset) and self.dataset.on_error == "skip"):
            return self.dataset[index], {}
        skipped: Skipped = {}
        count = len(self.dataset)
        for place in range(index, index + (count if self.replace else 1)):
            try:
                return self.dataset[place % count], skipped
            except UnreadableError as error:
                skipped[self.dataset.samples[place % count].name] = str(error)
        if self.replace:
            raise DataError(f"none of {count} samples can be read, such as {next(iter(skipped.values()))}")
        return None, skipped


def _collated_or_error(
    collated: Callable[[list[S]], B], drawn: list[tuple[S | None, Skipped] | DataError]
) -> tuple[B | None, Skipped] | DataError:
    samples: list[S] = []
    skipped: Skipped = {}
    for one in drawn:
        if isinstance(one, DataError):
            return one
        skipped |= one[1]
        if one[0] is not None:
            samples.append(one[0])
    try:
        return (collated(samples) if samples else None), skipped
    except DataError as error:
        return error


@lru_cache(maxsize=4)
def _order(samples: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order of one epoch. Its seed has three parts, a draw's has two, so that they never coincide."""
    return tuple(np.random.default_rng([seed, epoch, 1]).permutation(samples).tolist())
