"""A training recipe: every choice that makes a run, typed, checked all at once and written beside its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from featalign.errors import ConfigError
from featalign.training.recipe_sections import (
    DataRecipe,
    LossRecipe,
    MeasuredResult,
    ModelRecipe,
    PublishedResult,
    TestRecipe,
)
from featalign.training.recipe_text import apply_overrides, dump_yaml, validated
from featalign.training.recipe_training import TrainingRecipe
from featalign.training.recipe_types import COARSEST_STRIDE, DETECTION, PANOPTIC, Section

__all__ = [
    "DataRecipe",
    "LossRecipe",
    "MeasuredResult",
    "ModelRecipe",
    "PublishedResult",
    "Recipe",
    "TestRecipe",
    "TrainingRecipe",
]


_OF_SEMANTIC = ("query", "query_stride", "boundary_share", "anneal_position", "input_scale")
"""Fields of the training section that mean nothing to a detector."""


def _default(name: str) -> object:
    return TrainingRecipe.model_fields[name].default


class Recipe(Section):
    """A whole run. Every field has a default, but packaged recipes spell theirs out."""

    summary: str = Field(default="", description="one line: what this recipe is for")
    model: ModelRecipe = Field(default_factory=ModelRecipe, description="the network")
    data: DataRecipe = Field(default_factory=DataRecipe, description="the images")
    training: TrainingRecipe = Field(default_factory=TrainingRecipe, description="the optimization")
    loss: LossRecipe = Field(default_factory=LossRecipe, description="the objective")
    test: TestRecipe = Field(default_factory=TestRecipe, description="how the result is scored")
    published: tuple[PublishedResult, ...] = Field(default=(), description="the published results that it aims at")
    measured: tuple[MeasuredResult, ...] = Field(default=(), description="what runs of it came to here")

    @model_validator(mode="after")
    def _normalizable(self) -> Recipe:
        self.require_normalizable(self.training.batch)
        return self

    @model_validator(mode="after")
    def _something_to_freeze(self) -> Recipe:
        random = not self.model.pretrained and self.training.start_from is None
        if self.training.freeze == "backbone" and random:
            raise ValueError(
                "training.freeze: the backbone starts from random weights and would keep them; "
                "set model.pretrained or training.start_from"
            )
        return self

    @model_validator(mode="after")
    def _for_its_task(self) -> Recipe:
        if self.task == "semantic":
            if self.data.whole:
                raise ValueError("data.whole: networks for segmentation learn from crops of one size; leave it out")
            return self
        changed = [
            *(["loss"] if self.loss != LossRecipe() else []),
            *(f"training.{name}" for name in _OF_SEMANTIC if getattr(self.training, name) != _default(name)),
            *(["data.oversample"] if self.data.oversample else []),
            *(["model.aspp"] if self.model.aspp else []),
        ]
        if changed:
            raise ValueError(
                f"{self.model.name} finds objects and brings losses of its own: {', '.join(changed)} "
                f"{'is' if len(changed) == 1 else 'are'} for networks that label pixels; leave out"
            )
        if self.data.depth != 8:
            raise ValueError(f"{self.model.name} reads images of 8 bits per channel; set data.depth to 8")
        if self.data.normalization == "measured":
            raise ValueError(
                f"data.normalization: {self.model.name} finds objects, and images are measured for networks that label "
                "pixels; leave it out"
            )
        return self

    @property
    def task(self) -> Literal["semantic", "detection", "panoptic"]:
        """What the network answers: a class at each pixel, objects, or both. Its name tells."""
        if self.model.name in DETECTION:
            return "detection"
        return "panoptic" if self.model.name in PANOPTIC else "semantic"

    def require_normalizable(self, crops: int) -> None:
        """Raises ConfigError where ``crops`` in one process are too few, or too small, for batch normalization."""
        height, width = self.data.crop
        if crops == 1 and self.training.input_scale * max(height, width) <= COARSEST_STRIDE:
            raise ConfigError(
                f"training.batch: one crop of {height} x {width} in a process leaves one value per channel at stride "
                f"{COARSEST_STRIDE}, which batch normalization cannot train on; take a larger batch or data.crop"
            )

    @classmethod
    def from_content(cls, content: object, *, source: str = "recipe") -> Recipe:
        """Check ``content`` (what a YAML or JSON file holds). ``source`` is what error messages call it.

        Raises:
            ConfigError: listing every fault, one line each.
        """
        return validated(cls, content, source=source)

    def with_overrides(self, overrides: Sequence[str]) -> Recipe:
        """A copy with fields replaced: ``["training.iterations=200", "data.crop=[256, 256]"]``; values are YAML.

        Raises:
            ConfigError: listing every misspelt key, wrong type or value out of range, one line each.
        """
        if not overrides:
            return self
        content = apply_overrides(self.model_dump(mode="json"), overrides)
        return Recipe.from_content(content, source="--set")

    def to_yaml(self) -> str:
        """The complete recipe, defaults included, as :func:`~featalign.training.load_recipe` reads it."""
        return dump_yaml(self.model_dump(mode="json"))
