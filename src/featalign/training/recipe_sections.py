"""The sections of a recipe about the network, the images, the objective, the test and its results."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from featalign.training.recipe_types import (
    Count,
    Crop,
    Positive,
    Pretrained,
    Scales,
    Section,
    Share,
    Size,
    Weights,
)


class ModelRecipe(Section):
    """What :func:`featalign.models.create_model` is asked for, or :func:`~featalign.models.create_detector`.

    None leaves a choice to the model.
    """

    name: str = Field(
        default="fpn", description="name of the network, as in `featalign models`; mask_rcnn and the like find objects"
    )
    align: str | None = Field(
        default=None,
        description="how levels of different pitch are aligned: ifa, bilinear, nearest, …; of objects: the fuse",
    )
    backbone: str = Field(default="resnet18", description="timm name of the backbone")
    pretrained: Pretrained = Field(
        default=False, description="start from timm's ImageNet weights: true (downloaded), or the path of their file"
    )
    width: int | None = Field(default=None, ge=1, description="channels of the decoder")
    aspp: int | None = Field(
        default=None, ge=0, description="channels per branch of ASPP on the top level (IFA*); 0 = none"
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="further keyword options of create_model, which checks them"
    )


class DataRecipe(Section):
    """Which images, and how one training sample is cut from one of them."""

    layout: str = Field(
        default="auto", min_length=1, description="how the folder is laid out: folder, cityscapes, …; auto looks"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="further options of the layout; it checks them")
    train_split: str = Field(default="train", min_length=1, description="split to learn from")
    val_split: str = Field(default="val", min_length=1, description="split that chooses the best model; may be absent")
    test_split: str = Field(default="test", min_length=1, description="split kept for the final score")
    channels: int = Field(default=3, ge=1, description="channels of an image")
    depth: Literal[8, 16] = Field(default=8, description="bits per channel of an image: 0 … 255 or 0 … 65535")
    normalization: Literal["auto", "weights", "measured"] = Field(
        default="auto",
        description="mean and deviation that images are normalized by: those of the backbone's weights, or measured in "
        "the training images; auto measures where these have 16 bits",
    )
    crop: Crop = Field(default=(512, 512), description="height and width of a sample in pixels; one number: a square")
    scales: Scales = Field(default=(0.5, 2.0), description="range of the random scale, 1 = the image's own size")
    whole: bool = Field(
        default=False,
        description="of objects: images whole instead of scaled and cropped; the network then resizes them itself",
    )
    flip: Share = Field(default=0.5, description="probability of a horizontal flip")
    jitter: Share = Field(default=0.0, description="strength of the colour jitter; 0 = none")
    oversample: Share = Field(
        default=0.0, description="share of the draws that is an image with a rare class in it; 0 = all images alike"
    )
    cache: bool = Field(default=False, description="keep decoded images in memory, so that each is decoded once")
    workers: int = Field(default=2, ge=0, description="processes that read images; 0 = the training process itself")
    on_error: Literal["stop", "skip"] = Field(
        default="stop", description="at a file (of objects: an annotation) that cannot be used: stop, or leave it out"
    )

    @model_validator(mode="after")
    def _jitterable(self) -> DataRecipe:
        if self.jitter and self.channels not in (1, 3):
            raise ValueError(
                f"jitter {self.jitter:g} changes colours, which images of {self.channels} channels do not have; "
                "set jitter to 0"
            )
        return self


class LossRecipe(Section):
    """What is minimized: by default hard-example cross-entropy and an auxiliary one (IFA section 3.2)."""

    main: Literal["ohem", "ohem_alignseg", "cross_entropy", "balanced"] = Field(
        default="ohem",
        description="of the main output: hard pixels only (as IFA or AlignSeg finds them), all pixels alike, or "
        "balanced: all classes of the batch alike",
    )
    threshold: Share = Field(default=0.7, description="pixels whose true class is less probable than this are hard")
    keep: Share = Field(default=0.08, description="share of the pixels learnt from even when easy")
    class_weights: Weights = Field(
        default="none",
        description="of every cross-entropy but the balanced one: none, balanced (by the training masks), or a list",
    )
    lovasz: float = Field(default=0.0, ge=0, description="weight of the Lovász softmax loss, added to main; 0 = off")
    dice: float = Field(default=0.0, ge=0, description="weight of the Dice loss, added to main; 0 = off")
    auxiliary: Literal["cross_entropy", "ohem", "balanced"] = Field(
        default="cross_entropy", description="of the auxiliary output, as main"
    )
    auxiliary_weight: float = Field(default=0.4, ge=0, description="weight of the auxiliary loss; 0 = off")

    @model_validator(mode="after")
    def _balanced_once(self) -> LossRecipe:
        if self.class_weights != "none" and self.main == "balanced":
            raise ValueError(
                "main balanced weighs classes by each batch, class_weights by the whole split; choose one of the two"
            )
        return self


class TestRecipe(Section):
    """How the trained model is scored: what `featalign eval` does unless told otherwise."""

    __test__ = False  # for pytest, which takes the name for a test

    split: str | None = Field(default=None, min_length=1, description="split to score; null = data.test_split")
    mode: Literal["auto", "dense", "resized", "adaptive"] = Field(
        default="auto", description="where the model is queried, see docs/resolution.md"
    )
    input_size: Size | None = Field(
        default=None, description="height and width that images are resized to first; null = their own"
    )
    scales: tuple[Positive, ...] = Field(default=(1.0,), min_length=1, description="scales whose answers are averaged")
    flip: bool = Field(default=False, description="average with the answer on the mirrored image")
    window: Size | None = Field(default=None, description="height and width of a sliding window; null = whole images")
    overlap: float = Field(default=1 / 3, ge=0, lt=1, description="share of a window that the next one covers again")
    boundary: tuple[Count, ...] = Field(
        default=(), description="widths in pixels of the bands along boundaries that are scored apart"
    )


class PublishedResult(Section):
    """A published result that a recipe aims at."""

    paper: str = Field(min_length=1, description="short name of the paper")
    table: str = Field(min_length=1, description="table of the paper, such as 1")
    row: str = Field(min_length=1, description="row of the table")
    metrics: dict[str, float] = Field(min_length=1, description="name to value as printed, scores in percent")
    note: str = Field(default="", description="what has to be known to compare with it")


class MeasuredResult(Section):
    """What a run of a recipe came to here."""

    split: str = Field(min_length=1, description="the split that was scored")
    metrics: dict[str, float] = Field(min_length=1, description="name to value, scores in percent")
    note: str = Field(default="", description="seeds, what differs from the recipe, where it is described")
