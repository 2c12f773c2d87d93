"""What a run does in one way for a class at each pixel, and in another for objects: everything else is the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from torch import Tensor, nn

from featalign.spec import Normalization
from featalign.training.judging import Judge
from featalign.training.network import Network
from featalign.training.recipe import DataRecipe, Recipe
from featalign.training.splits import Splits


class Task(Protocol):
    """The parts that depend on what the network answers."""

    optional_losses: tuple[str, ...]
    """Losses that some recipes have none of: null in the log."""

    def open_splits(self, root: Path, recipe: DataRecipe) -> Splits:
        """The splits that ``recipe`` names; one without the validation split is fine. Raises DataError."""

    def augment(self, splits: Splits, recipe: DataRecipe, normalization: Normalization) -> None:
        """Pad crops of the opened splits with the mean colour of ``normalization``."""

    def check_files(self, root: Path, recipe: DataRecipe, *, console: Console) -> None:
        """Read every file, and cut one sample. Raises DataError or ConfigError."""

    def build(self, recipe: Recipe, splits: Splits, *, pretrained: bool) -> Network:
        """The untrained network; without the recipe's weights for the backbone unless ``pretrained``."""

    def learner(self, model: Network, recipe: Recipe, *, class_weights: Tensor | None) -> nn.Module:
        """Called with a batch and the step, it gives losses by name, of which ``loss`` is what is minimized."""

    def collated(self, splits: Splits) -> Callable[[list[Any]], Any]:
        """Samples to learn from as a batch."""

    def drawn(self, recipe: DataRecipe, splits: Splits, *, device: torch.device) -> Any:
        """A batch to learn from of two made-up images, no larger than is needed to try the network."""

    def judged(self, splits: Splits) -> tuple[Callable[[list[Any]], Any], Callable[[], Judge[Any, Any]]]:
        """Samples to judge by as a batch, and what begins a judgement."""

    def save(self, model: Network, folder: Path) -> None:
        """Store the network as a model folder."""


def task_of(recipe: Recipe) -> Task:
    """The task of the network that ``recipe`` names."""
    if recipe.task == "semantic":
        from featalign.training.semantic import SemanticTask

        return SemanticTask(input_scale=recipe.training.input_scale)
    from featalign.training.objects import DetectionTask, PanopticTask

    return DetectionTask() if recipe.task == "detection" else PanopticTask()
