"""How a run normalizes its images: as the weights say that it begins with, or as measured in what it learns from.

Belongs before the first step, once the network has the weights that it begins with.

    settle(model, recipe, splits.train, given=False, progress=progress)  # for a new run
    remember(model, folder)                                              # for the day that it goes on
    recall(model, folder)                                                # instead of all that, on a resumed run
"""

from __future__ import annotations

import json
from dataclasses import asdict

from featalign.data import Images, Progress, measured_normalization
from featalign.errors import ConfigError, WeightsError
from featalign.spec import Normalization
from featalign.training.network import Network
from featalign.training.recipe import Recipe
from featalign.training.run_folder import RunFolder, write_json


def require_measurable(recipe: Recipe, train: object) -> None:
    """Raises ConfigError if measuring is asked for, and the data set reads no images alone."""
    if recipe.data.normalization == "measured" and not isinstance(train, Images):
        raise ConfigError(
            "data.normalization: measured reads the training images alone, which this data set does not give; open it "
            "with open_dataset, or give it a method pixels(index) -> image (H, W, C)"
        )


def settle(model: Network, recipe: Recipe, train: object, *, given: bool, progress: Progress) -> bool:
    """Measure the training images where ``data.normalization`` says so; whether that was done.

    Args:
        model: its normalization is that of the weights.
        train: the data set to learn from. ``auto`` measures only one that reads images alone.
        given: whether ``training.start_from`` brought a normalization, which ``auto`` keeps.

    Raises:
        DataError: if an image cannot be read.
    """
    chosen = recipe.data.normalization
    if chosen == "weights" or not isinstance(train, Images):
        return False
    if chosen == "auto" and (recipe.data.depth == 8 or given):
        return False
    model.normalization = measured_normalization(train, scale=model.normalization.scale, progress=progress)
    return True


def remember(model: Network, folder: RunFolder) -> None:
    """Write down what :func:`recall` reads."""
    write_json(folder.normalization, asdict(model.normalization))


def recall(model: Network, folder: RunFolder) -> None:
    """For a resumed run: normalize images as it did when it began.

    Runs of earlier versions tell it beside the weights that they began with, if they began with any.

    Raises:
        WeightsError: if the file cannot be read.
    """
    for file in (folder.normalization, folder.start_from):
        if not file.is_file():
            continue
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            model.normalization = Normalization.from_json(content.get("normalization", content))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise WeightsError(f"{file}: cannot be read ({error}); it tells how this run normalizes images") from error
        return
