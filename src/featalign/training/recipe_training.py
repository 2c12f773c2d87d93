"""The section of a recipe about optimization and about how the run itself behaves."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from featalign.training.recipe_types import Positive, Section, Share, Steps


class TrainingRecipe(Section):
    """Optimization; the defaults are SGD with the 'poly' schedule by iteration (IFA section 4.2)."""

    iterations: int = Field(default=18_000, ge=1, description="optimizer steps")
    batch: int = Field(default=16, ge=1, description="crops per pass, shared by all processes")
    accumulate: int = Field(default=1, ge=1, description="passes whose gradients are averaged into one optimizer step")
    start_from: str | None = Field(
        default=None,
        min_length=1,
        description="weights to begin with: a run, a model folder, a published checkpoint, .safetensors or .pth",
    )
    freeze: Literal["none", "backbone", "backbone_norms"] = Field(
        default="none",
        description="what stays as it starts: the whole backbone, or its batch normalization (as FaPN trains)",
    )
    optimizer: Literal["sgd", "adamw"] = Field(default="sgd", description="sgd (with momentum) or adamw")
    lr: Positive = Field(default=0.01, description="learning rate of the backbone before the schedule")
    head_lr_multiplier: Positive = Field(default=1.0, description="learning rate of all but the backbone / lr")
    offset_lr_multiplier: Positive = Field(
        default=1.0, description="learning rate of the layers that predict offsets / that of the rest of the head"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of SGD; AdamW has its own averages")
    weight_decay: float = Field(default=5e-4, ge=0, description="weight decay: SGD's in the gradient, AdamW's apart")
    decay_norms: bool = Field(
        default=True, description="false: no weight decay on norms, biases and other vectors, only on matrices"
    )
    schedule: Literal["poly", "cosine", "step", "constant"] = Field(
        default="poly", description="how lr falls, by iteration"
    )
    power: float = Field(default=0.9, ge=0, description="of the poly schedule: lr * (1 - i / iterations) ** power")
    lr_end: float = Field(default=0.0, ge=0, description="of the cosine schedule: every rate at the end")
    steps: Steps = Field(default=(), description="of the step schedule: iterations at which lr is multiplied by gamma")
    gamma: Positive = Field(default=0.1, description="of the step schedule")
    warmup: int = Field(default=0, ge=0, description="iterations over which lr rises linearly to the schedule")
    query: Literal["grid", "points", "mixed", "uncertain"] = Field(
        default="grid",
        description="where the answer is supervised: a regular grid, random points, each in turn, or the grid and its "
        "uncertain points besides (PointRend)",
    )
    query_stride: Literal[1, 2, 4] = Field(
        default=4, description="pixels per question and side: 4 as published, 2 and 1 supervise finer and cost more"
    )
    boundary_share: Share = Field(
        default=0.0, description="share of the random points that is drawn near boundaries between labels"
    )
    boundary_radius: int = Field(default=4, ge=1, description="how far from a boundary, in pixels of the crop")
    anneal_position: Share = Field(
        default=0.0,
        description="share of the run over which position codes gain their frequencies, low to high; 0 = all at once",
    )
    input_scale: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="share of their size at which the network sees crops and validation images; labels keep theirs",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="bf16, fp16: autocast; weights, coordinates and losses stay fp32"
    )
    gradient_clip: float | None = Field(default=None, gt=0, description="largest norm of the gradient; null = no limit")
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of a running average of the weights, which is then kept; null = off",
    )
    sync_bn: bool = Field(default=False, description="batch statistics over all processes (GPUs only)")
    deterministic: bool = Field(
        default=False, description="only operations that repeat bit for bit; stops at one that cannot and names it"
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="seed of the weights, the batches and the query points")
    validate_every: int = Field(default=1_000, ge=1, description="iterations between validations; one more at the end")
    early_stop: int | None = Field(
        default=None, ge=1, description="stop after that many validations without a better one; null = never"
    )
    checkpoint_every: int | None = Field(
        default=500, ge=1, description="iterations between checkpoints to resume from; null = at the end only"
    )
    on_nan: Literal["stop", "skip"] = Field(
        default="stop", description="at a loss or gradient that is not finite: stop, or leave the weights and go on"
    )
    log_every: int = Field(default=10, ge=1, description="iterations between two lines of the log")
    tensorboard: bool = Field(default=False, description="the log for TensorBoard too (needs featalign[tensorboard])")

    @model_validator(mode="after")
    def _schedulable(self) -> TrainingRecipe:
        if (self.schedule == "step") != bool(self.steps):
            raise ValueError(
                f"schedule {self.schedule} with steps {list(self.steps)}: the step schedule needs steps such as "
                "[12000, 16000], and no other schedule has any"
            )
        lowest = self.lr * min(1.0, self.head_lr_multiplier, self.head_lr_multiplier * self.offset_lr_multiplier)
        if self.lr_end > lowest:
            raise ValueError(f"lr_end {self.lr_end:g} is above the rate {lowest:g} that falls towards it; lower it")
        return self

    @model_validator(mode="after")
    def _askable(self) -> TrainingRecipe:
        if self.boundary_share and self.query in ("grid", "uncertain"):
            raise ValueError(
                f"boundary_share {self.boundary_share:g} moves random points, and query {self.query} asks no such; "
                "set query to points or mixed"
            )
        return self
