"""Training for a class at each pixel: the task of every network of :func:`featalign.models.create_model`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from torch import Tensor

from featalign.backbones import normalization_of
from featalign.data import Batch, collate
from featalign.models import Segmentor, create_model, save_model
from featalign.spec import Classes, Normalization
from featalign.training.determinism import drawn_images
from featalign.training.judging import Judge, PixelJudge
from featalign.training.module import Learner
from featalign.training.network import Network
from featalign.training.questions import require_taught
from featalign.training.recipe import DataRecipe, Recipe
from featalign.training.splits import Splits, augment, check_files, open_splits


class SemanticTask:
    """See :class:`featalign.training.tasks.Task`."""

    optional_losses: tuple[str, ...] = ("auxiliary_loss",)

    def __init__(self, *, input_scale: float = 1.0) -> None:
        self.input_scale = input_scale

    def open_splits(self, root: Path, recipe: DataRecipe) -> Splits:
        return open_splits(root, recipe)

    def augment(self, splits: Splits, recipe: DataRecipe, normalization: Normalization) -> None:
        augment(splits, recipe, normalization)

    def check_files(self, root: Path, recipe: DataRecipe, *, console: Console) -> None:
        check_files(root, recipe, console=console)

    def build(self, recipe: Recipe, splits: Splits, *, pretrained: bool) -> Segmentor:
        model = build_model(recipe, splits.classes, pretrained=pretrained)
        require_taught(model, recipe.training)
        return model

    def learner(self, model: Network, recipe: Recipe, *, class_weights: Tensor | None) -> Learner:
        return Learner(cast(Segmentor, model), recipe, class_weights=class_weights)

    def collated(self, splits: Splits) -> Callable[[list[Any]], Any]:
        return collate

    def drawn(self, recipe: DataRecipe, splits: Splits, *, device: torch.device) -> Batch:
        images = drawn_images(recipe, device)
        classes = torch.arange(images[:, 0].numel(), device=device) % len(splits.classes)
        return {"image": images, "mask": classes.view_as(images[:, 0]), "name": ["drawn"] * len(images)}

    def judged(self, splits: Splits) -> tuple[Callable[[list[Any]], Any], Callable[[], Judge[Any, Any]]]:
        return collate, lambda: PixelJudge(splits.classes, input_scale=self.input_scale)

    def save(self, model: Network, folder: Path) -> None:
        save_model(cast(Segmentor, model), folder)


def build_model(recipe: Recipe, classes: Classes, *, pretrained: bool = True) -> Segmentor:
    """The untrained network of a recipe; ``pretrained`` false leaves the recipe's weights for the backbone out.

    Raises:
        ConfigError: for options that the network does not have.
    """
    model = recipe.model
    chosen = {"align": model.align, "width": model.width, "aspp": model.aspp}
    network = create_model(
        model.name,
        backbone=model.backbone,
        pretrained=model.pretrained if pretrained else False,
        classes=classes,
        in_channels=recipe.data.channels,
        **{name: value for name, value in chosen.items() if value is not None},
        **model.options,
    )
    network.normalization = normalization_of(  # also when it goes on and is built without these weights
        model.backbone, recipe.data.channels, pretrained=model.pretrained, depth=recipe.data.depth
    )
    return network
