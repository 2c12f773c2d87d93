"""The data of a run: which splits, checked before the first step, and how they become batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from featalign.data import (
    Batch,
    EndlessBatches,
    FolderDataset,
    Sample,
    Samples,
    TrainingLoader,
    in_order,
    list_splits,
    load_batches,
    require_trainable,
    train_transform,
)
from featalign.spec import Classes
from featalign.training.recipe import DataRecipe, Recipe

T = TypeVar("T")


@dataclass(frozen=True)
class Splits:
    """What to learn from, what to choose the best model by (None: nothing), and what the labels mean.

    ``train`` gives samples of one size, augmented already; ``val`` gives images and masks as they are.
    """

    train: Samples
    val: Samples | None
    classes: Classes


class ValidationLoader:
    """The images of a split one by one, each at its own size, as often as asked."""

    def __init__(self, dataset: Samples, *, workers: int) -> None:
        self.dataset = dataset
        self.workers = workers

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Batch]:
        return load_batches(self.dataset, in_order(len(self.dataset)), workers=self.workers)


def training_loader(splits: Splits, recipe: Recipe, *, pin_memory: bool = False) -> TrainingLoader:
    """The batches of the whole run: batch k depends on (seed, k) alone, not on the number of workers."""
    training = recipe.training
    batches = EndlessBatches(len(splits.train), batch=training.batch, seed=training.seed, stop=training.iterations)
    return TrainingLoader(splits.train, batches, workers=recipe.data.workers, pin_memory=pin_memory)


def open_splits(root: Path, recipe: DataRecipe) -> Splits:
    """The splits that ``recipe`` names; one without the validation split is fine. Reads no image yet.

    Raises:
        DataError: if the folder has not the layout, or a split has images without masks or masks without images.
    """
    train = FolderDataset(root, recipe.train_split, channels=recipe.channels)
    train.transform = augmentation(recipe, ignore_index=train.classes.ignore_index)
    val = None
    if recipe.val_split in list_splits(root):
        val = FolderDataset(root, recipe.val_split, channels=recipe.channels)
    return Splits(train, val, train.classes)


def augmentation(recipe: DataRecipe, *, ignore_index: int) -> Callable[[Sample], Sample]:
    """How ``recipe`` cuts a training sample."""
    return train_transform(
        crop=recipe.crop, scales=recipe.scales, flip=recipe.flip, jitter=recipe.jitter, ignore_index=ignore_index
    )


def check_files(root: Path, recipe: DataRecipe, *, console: Console) -> None:
    """Read every file of the splits that ``recipe`` names, and cut one sample.

    Raises:
        DataError: if a file cannot be trained on; the message has the first few.
        ConfigError: if a sample cannot be cut as the recipe says.
    """
    names = {recipe.train_split, recipe.val_split} & set(list_splits(root))
    report = require_trainable(root, sorted(names), channels=recipe.channels, progress=_Shown(console))
    notes = [str(note) for note in report.notes[:3]]
    train = open_splits(root, recipe).train
    _ = train[0]  # what the transform refuses it refuses here, not in a worker process
    for note in [*notes, *_padding(FolderDataset(root, recipe.train_split, channels=recipe.channels), recipe)]:
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)


def _padding(train: FolderDataset, recipe: DataRecipe) -> list[str]:
    """A note if every crop will be padded, at whatever scale."""
    height, width = train[0]["mask"].shape
    (rows, columns), largest = recipe.crop, recipe.scales[1]
    if rows <= largest * height or columns <= largest * width:
        return []
    return [
        f"a crop of {rows} x {columns} is larger than an image of {height} x {width} at the largest scale, {largest}: "
        "the rest of every crop is padding"
    ]


@dataclass(frozen=True)
class _Shown:
    """A bar while items are handed on."""

    console: Console

    def __call__(self, items: Iterable[T], *, total: int, description: str) -> Iterable[T]:
        shown = self.console.is_terminal
        return track(items, description, total=total, console=self.console, transient=True, disable=not shown)
