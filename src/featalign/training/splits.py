"""The data of a run: which splits, checked before the first step, and how they become batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from featalign.data import (
    DataSet,
    EndlessBatches,
    Sample,
    SegmentationDataset,
    TrainingLoader,
    bar_on,
    list_splits,
    open_dataset,
    require_trainable,
    train_transform,
)
from featalign.spec import Classes, Normalization
from featalign.training.oversampling import RareClassBatches
from featalign.training.progress import say
from featalign.training.recipe import DataRecipe, Recipe
from featalign.training.world import World


@dataclass(frozen=True)
class Splits:
    """What to learn from, what to choose the best model by (None: nothing), and what the labels mean.

    ``train`` gives augmented samples; ``val`` gives images and masks, or objects, as they are. ``things``: of panoptic
    data, the classes whose objects are told apart.
    """

    train: DataSet[Any]
    val: DataSet[Any] | None
    classes: Classes
    things: tuple[int, ...] | None = None


def training_loader(
    splits: Splits,
    recipe: Recipe,
    *,
    counts: Tensor | None,
    world: World,
    pin_memory: bool = False,
    collated: Callable[[list[Any]], Any] | None = None,
) -> TrainingLoader[Any, Any]:
    """This process's share of the batches of the whole run, ``accumulate`` of them for each step.

    What batch k holds over all processes depends on (seed, k) alone, not on the number of processes or workers.
    ``counts``: pixels of each class in each image, for ``data.oversample``. ``collated`` makes a batch of samples.
    """
    training = recipe.training
    options: dict[str, int] = {
        "batch": world.share(training.batch),
        "seed": training.seed,
        "stop": training.iterations * training.accumulate,
        "rank": world.rank,
        "ranks": world.size,
    }
    batches = EndlessBatches(len(splits.train), **options)
    if recipe.data.oversample:
        assert counts is not None
        batches = RareClassBatches(counts, share=recipe.data.oversample, **options)
    return TrainingLoader(splits.train, batches, collated=collated, workers=recipe.data.workers, pin_memory=pin_memory)


def open_splits(root: Path, recipe: DataRecipe) -> Splits:
    """The splits that ``recipe`` names; one without the validation split is fine. Reads no image yet.

    Raises:
        DataError: if the folder has not the layout, or a split has images without masks or masks without images.
    """
    train = open_split(root, recipe, recipe.train_split)
    train.transform = augmentation(recipe, ignore_index=train.classes.ignore_index)
    val = open_split(root, recipe, recipe.val_split) if recipe.val_split in _splits(root, recipe) else None
    return Splits(train, val, train.classes)


def _splits(root: Path, recipe: DataRecipe) -> list[str]:
    return list_splits(root, layout=recipe.layout, options=recipe.options)


def open_split(root: Path, recipe: DataRecipe, split: str) -> SegmentationDataset:
    """One split as it is. Raises DataError as :func:`open_splits`."""
    return open_dataset(
        root,
        split,
        layout=recipe.layout,
        options=recipe.options,
        channels=recipe.channels,
        depth=recipe.depth,
        cache=recipe.cache,
        on_error=recipe.on_error,
    )


def augment(splits: Splits, recipe: DataRecipe, normalization: Normalization) -> None:
    """Cut the samples of :func:`open_splits` as ``recipe`` says, padded with the mean colour of ``normalization``."""
    train: Any = splits.train
    train.transform = augmentation(recipe, ignore_index=splits.classes.ignore_index, normalization=normalization)


def augmentation(
    recipe: DataRecipe, *, ignore_index: int, normalization: Normalization | None = None
) -> Callable[[Sample], Sample]:
    """How ``recipe`` cuts a training sample."""
    return train_transform(ignore_index=ignore_index, **cut(recipe, normalization))


def cut(recipe: DataRecipe, normalization: Normalization | None) -> dict[str, Any]:
    """The options of every transform that crops."""
    options = {name: getattr(recipe, name) for name in ("crop", "scales", "flip", "jitter")}
    return {**options, "normalization": normalization}


def check_files(root: Path, recipe: DataRecipe, *, console: Console) -> None:
    """Read every file of the splits that ``recipe`` names, and cut one sample.

    Raises:
        DataError: if a file cannot be trained on; the message has the first few.
        ConfigError: if a sample cannot be cut as the recipe says.
    """
    names = [recipe.train_split]
    names += [recipe.val_split] if recipe.val_split in _splits(root, recipe) else []
    report = require_trainable(
        root,
        names,
        layout=recipe.layout,
        options=recipe.options,
        channels=recipe.channels,
        depth=recipe.depth,
        on_error=recipe.on_error,
        progress=bar_on(console),
    )
    notes = [str(note) for note in report.notes[:3]]
    train = open_split(root, recipe, recipe.train_split)
    sample = next(iter(train))
    augmentation(recipe, ignore_index=train.classes.ignore_index)(sample)  # refused here, not in a worker process
    for note in [*notes, *_padding(sample, recipe)]:
        say(console, f"note: {note}")


def _padding(sample: Sample, recipe: DataRecipe) -> list[str]:
    """A note if every crop will be padded, at whatever scale."""
    height, width = sample["mask"].shape
    (rows, columns), largest = recipe.crop, recipe.scales[1]
    if rows <= largest * height and columns <= largest * width:
        return []
    return [
        f"a crop of {rows} x {columns} is larger than an image of {height} x {width} at the largest scale, {largest}: "
        "the rest of every crop is padding"
    ]
