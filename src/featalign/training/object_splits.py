"""The splits of a data set of objects: opened as a recipe names them, and checked before the first step."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from featalign.data import DEFAULT_MAX_PIXELS, Finding, list_splits
from featalign.data.objects import (
    AnyObjects,
    AnySegments,
    LabelledObjects,
    LabelledSegments,
    ObjectFiles,
    check_objects,
    check_panoptic,
    find_objects,
    list_object_splits,
    object_transform,
    open_objects,
    open_panoptic,
    panoptic_transform,
)
from featalign.data.objects.splits import AnnotationKind, of_split
from featalign.data.opening import open_source
from featalign.errors import ConfigError, DataError, check_flags, did_you_mean
from featalign.spec import Normalization
from featalign.training.progress import say
from featalign.training.recipe import DataRecipe
from featalign.training.splits import Splits, check_files, cut, open_split

OPTIONS = ("annotations", "images", "segments", "masks")
"""Of ``data.options``: where the files lie (``{split}`` stands for the split), and whether objects have masks."""
_SHOWN = 5


def open_object_splits(root: Path, recipe: DataRecipe, *, kind: AnnotationKind) -> Splits:
    """Images without a single object, and of nothing but crowds, are no samples to learn from; they are to judge by.

    Raises:
        DataError: if the folder has not the layout, or a file is not what it should be.
        ConfigError: for an option that there is none of.
    """
    train = open_object_split(root, recipe, recipe.train_split, kind=kind, learn=True)
    val = None
    if has_split(root, recipe, recipe.val_split, kind=kind):
        val = open_object_split(root, recipe, recipe.val_split, kind=kind)
        if val.classes.names != train.classes.names:
            raise DataError(
                f"{root}: {recipe.train_split} has {len(train.classes)} categories and {recipe.val_split} has "
                f"{len(val.classes)}, or others; both need the same"
            )
    return Splits(train, val, train.classes, None if isinstance(train, AnyObjects) else train.things)


def open_object_split(
    root: Path, recipe: DataRecipe, split: str, *, kind: AnnotationKind, learn: bool = False
) -> AnyObjects | AnySegments:
    """One split; ``learn``: augmented, and without what nothing is learnt from."""
    transform = _augmentation(recipe, kind=kind) if learn else None
    if _labels_pixels(root, recipe, kind=kind):
        pixels = open_split(root, _strict(recipe), split)
        return (LabelledSegments if kind == "panoptic" else LabelledObjects)(pixels, transform=transform)
    if recipe.cache:
        raise ConfigError("data.cache is for data sets that label pixels; COCO's images are read anew each time")
    options = _options(recipe)
    files = object_files(root, recipe, split, kind=kind)
    if kind == "panoptic":
        folder = _segments_folder(root, options, split)
        return open_panoptic(
            files.annotations, files.images, segments=folder, channels=recipe.channels, transform=transform
        )
    return open_objects(
        files.annotations,
        files.images,
        masks=options.get("masks", True),
        faulty=recipe.on_error,
        empty="drop" if learn else "keep",
        channels=recipe.channels,
        transform=transform,
    )


def object_files(root: Path, recipe: DataRecipe, split: str, *, kind: AnnotationKind) -> ObjectFiles:
    """Where the files of a split lie. Raises DataError."""
    options = _options(recipe)
    places = {name: str(options[name]) for name in ("annotations", "images") if name in options}
    return find_objects(root, split, kind=kind, **places)


def has_split(root: Path, recipe: DataRecipe, split: str, *, kind: AnnotationKind) -> bool:
    """Whether there is that split."""
    if _labels_pixels(root, recipe, kind=kind):
        return split in list_splits(root, layout=recipe.layout, options=recipe.options)
    if "annotations" in recipe.options:
        return (root / of_split(str(recipe.options["annotations"]), split)).is_file()
    return bool({split, f"{split}2017", f"{split}2014"} & set(list_object_splits(root, kind=kind)))


def examine(
    root: Path, recipe: DataRecipe, split: str, *, kind: AnnotationKind, max_pixels: int = DEFAULT_MAX_PIXELS
) -> list[Finding]:
    """What is wrong or worth knowing about the files of a split."""
    files, options = object_files(root, recipe, split, kind=kind), _options(recipe)
    if kind == "panoptic":
        folder = _segments_folder(root, options, split)
        return check_panoptic(
            files.annotations, files.images, segments=folder, channels=recipe.channels, max_pixels=max_pixels
        )
    masks = options.get("masks", True)
    return check_objects(files.annotations, files.images, masks=masks, channels=recipe.channels, max_pixels=max_pixels)


def check_object_files(root: Path, recipe: DataRecipe, *, kind: AnnotationKind, console: Console) -> None:
    """Read every file of the splits that ``recipe`` names, and cut one sample.

    Raises:
        DataError: if a file cannot be trained on; the message has the first few.
        ConfigError: if a sample cannot be cut as the recipe says.
    """
    if _labels_pixels(root, recipe, kind=kind):
        check_files(root, _strict(recipe), console=console)
        open_object_split(root, recipe, recipe.train_split, kind=kind, learn=True)[0]
        return
    splits = [name for name in (recipe.train_split, recipe.val_split) if has_split(root, recipe, name, kind=kind)]
    for split in splits:
        findings = examine(root, recipe, split, kind=kind)
        if errors := forbidding(findings, recipe, kind=kind):
            shown = "\n".join(str(error) for error in errors[:_SHOWN])
            skippable = any(_can_be_left_out(error, kind) for error in errors)
            way_out = "; data.on_error=skip leaves out the annotations among them" if skippable else ""
            raise DataError(f"{len(errors)} faults, the first:\n{shown}\ncorrect them{way_out}")
        for note in islice((f for f in findings if f.severity == "note"), 3):
            say(console, f"note: {note}")
    open_object_split(root, recipe, recipe.train_split, kind=kind, learn=True)[0]  # refused here, not in a worker


def forbidding(findings: list[Finding], recipe: DataRecipe, *, kind: AnnotationKind) -> list[Finding]:
    """The errors among ``findings`` that training does not get over, whatever ``recipe.on_error`` leaves out."""
    skip = recipe.on_error == "skip"
    return [one for one in findings if one.severity == "error" and not (skip and _can_be_left_out(one, kind))]


def _can_be_left_out(finding: Finding, kind: AnnotationKind) -> bool:
    """Whether it is about an annotation of an object, which is in the JSON file, and not about an image."""
    return kind == "instances" and finding.file is not None and finding.file.suffix == ".json"


def _strict(recipe: DataRecipe) -> DataRecipe:
    """Of data sets that label pixels every file is needed: objects are counted before any image is read."""
    return recipe.model_copy(update={"on_error": "stop"})


def augment_objects(splits: Splits, recipe: DataRecipe, normalization: Normalization, *, kind: AnnotationKind) -> None:
    """Cut the samples of :func:`open_object_splits` as ``recipe`` says, padded with ``normalization``'s mean colour."""
    train: Any = splits.train
    train.transform = _augmentation(recipe, kind=kind, normalization=normalization)


def _augmentation(
    recipe: DataRecipe, *, kind: AnnotationKind, normalization: Normalization | None = None
) -> Callable[[Any], Any]:
    make = panoptic_transform if kind == "panoptic" else object_transform
    if recipe.whole:
        return make(crop=None, flip=recipe.flip, jitter=recipe.jitter)
    return make(**cut(recipe, normalization))


def _labels_pixels(root: Path, recipe: DataRecipe, *, kind: AnnotationKind) -> bool:
    """Whether the data are masks, of a layout of its own, and not COCO's files."""
    if recipe.layout != "auto":
        return recipe.layout != "coco"
    if recipe.options.keys() & set(OPTIONS) or list_object_splits(root, kind=kind):
        return False
    try:
        open_source(root, options=recipe.options)
    except (ConfigError, DataError):
        return False
    return True


def _segments_folder(root: Path, options: dict[str, Any], split: str) -> Path | None:
    """Of the PNG files; None for where COCO has it. Raises ConfigError."""
    segments = options.get("segments")
    return None if segments is None else root / of_split(str(segments), split)


def _options(recipe: DataRecipe) -> dict[str, Any]:
    for name in recipe.options:
        if name not in OPTIONS:
            raise ConfigError(f'data.options: unknown "{name}"; {did_you_mean(name, OPTIONS)}')
    check_flags(**{"data.options: masks": recipe.options.get("masks", True)})
    return dict(recipe.options)
