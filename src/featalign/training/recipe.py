"""A training recipe: every choice that makes a run, typed, checked all at once and written beside its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from featalign.training.recipe_text import apply_overrides, dump_yaml, validated

COARSEST_STRIDE = 32  # of the pyramid: its last map has ceil(side / 32) cells

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]


def _square(value: object) -> object:
    """One number for both sides of a crop, as people write it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    return tuple(value) if isinstance(value, list) else value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    low, high = value
    if not 0 < low <= high:
        raise ValueError(f"expected 0 < low <= high, got [{low}, {high}]")
    return value


Side: TypeAlias = Annotated[int, Field(ge=COARSEST_STRIDE)]
Crop: TypeAlias = Annotated[tuple[Side, Side], BeforeValidator(_square)]
Scales: TypeAlias = Annotated[tuple[float, float], AfterValidator(_ordered)]


class Section(BaseModel):
    """Fields are fixed: an unknown key is an error, and so are nan and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class ModelRecipe(Section):
    """What :func:`featalign.models.create_model` is asked for. None leaves a choice to the model."""

    name: str = Field(default="fpn", description="name of the network, as in `featalign models`")
    align: str | None = Field(
        default=None, description="how levels of different pitch are aligned: ifa, bilinear, nearest, …"
    )
    backbone: str = Field(default="resnet18", description="timm name of the backbone")
    pretrained: bool = Field(default=False, description="start from timm's ImageNet weights (downloaded)")
    width: int | None = Field(default=None, ge=1, description="channels of the decoder")
    aspp: int | None = Field(
        default=None, ge=0, description="channels per branch of ASPP on the top level (IFA*); 0 = none"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="further keyword options of create_model, which checks them"
    )


class DataRecipe(Section):
    """Which images, and how one training sample is cut from one of them."""

    layout: Literal["folder"] = Field(default="folder", description="{split}/images, {split}/masks, classes.json")
    train_split: str = Field(default="train", min_length=1, description="split to learn from")
    val_split: str = Field(default="val", min_length=1, description="split that chooses the best model; may be absent")
    channels: int = Field(default=3, ge=1, description="channels of an image")
    crop: Crop = Field(default=(512, 512), description="height and width of a sample in pixels; one number: a square")
    scales: Scales = Field(default=(0.5, 2.0), description="range of the random scale, 1 = the image's own size")
    flip: Share = Field(default=0.5, description="probability of a horizontal flip")
    jitter: Share = Field(default=0.0, description="strength of the colour jitter; 0 = none")
    workers: int = Field(default=2, ge=0, description="processes that read images; 0 = the training process itself")


class TrainingRecipe(Section):
    """Optimization: SGD with the 'poly' schedule by iteration (IFA section 4.2)."""

    iterations: int = Field(default=18_000, ge=1, description="optimizer steps")
    batch: int = Field(default=16, ge=1, description="crops per step")
    lr: float = Field(default=0.01, gt=0, description="learning rate of the backbone before the schedule")
    head_lr_multiplier: float = Field(default=1.0, gt=0, description="learning rate of all but the backbone / lr")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of SGD")
    weight_decay: float = Field(default=5e-4, ge=0, description="weight decay of SGD, on every parameter")
    power: float = Field(default=0.9, ge=0, description="of the poly schedule: lr * (1 - i / iterations) ** power")
    warmup: int = Field(default=0, ge=0, description="iterations over which lr rises linearly to the schedule")
    query: Literal["grid", "points", "mixed"] = Field(
        default="grid", description="where the answer is supervised: the finest grid, random points, or each in turn"
    )
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="bf16: autocast; weights, losses stay fp32")
    gradient_clip: float | None = Field(default=None, gt=0, description="largest norm of the gradient; null = no limit")
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of a running average of the weights, which is then kept; null = off",
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="seed of the weights, the batches and the query points")
    validate_every: int = Field(default=1_000, ge=1, description="iterations between validations; one more at the end")
    log_every: int = Field(default=10, ge=1, description="iterations between two lines of the log")


class LossRecipe(Section):
    """Hard-example cross-entropy on the main output, cross-entropy on the auxiliary one (IFA section 3.2)."""

    ohem: bool = Field(default=True, description="learn from hard pixels only; false: from every pixel")
    threshold: Share = Field(default=0.7, description="pixels whose true class is less probable than this are hard")
    keep: Share = Field(default=0.08, description="share of the pixels learnt from even when easy")
    auxiliary_weight: float = Field(default=0.4, ge=0, description="weight of the auxiliary loss; 0 = off")


class Recipe(Section):
    """A whole run. Every field has a default, but packaged recipes spell theirs out."""

    summary: str = Field(default="", description="one line: what this recipe is for")
    model: ModelRecipe = Field(default_factory=ModelRecipe, description="the network")
    data: DataRecipe = Field(default_factory=DataRecipe, description="the images")
    training: TrainingRecipe = Field(default_factory=TrainingRecipe, description="the optimization")
    loss: LossRecipe = Field(default_factory=LossRecipe, description="the objective")

    @model_validator(mode="after")
    def _normalizable(self) -> Recipe:
        height, width = self.data.crop
        if self.training.batch == 1 and max(height, width) <= COARSEST_STRIDE:
            raise ValueError(
                f"training.batch: one crop of {height} x {width} leaves one value per channel at stride "
                f"{COARSEST_STRIDE}, which batch normalization cannot train on; take a larger batch or data.crop"
            )
        return self

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
        """The complete recipe, defaults included, as :func:`load_recipe` reads it."""
        return dump_yaml(self.model_dump(mode="json"))
