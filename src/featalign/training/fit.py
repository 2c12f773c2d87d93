"""Lightning's Trainer, set up to do the loop and nothing else."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerStatus

from featalign.training.module import SegmentationModule
from featalign.training.recorder import Recorder
from featalign.training.splits import Splits, ValidationLoader, training_loader

PRECISIONS: dict[str, Literal["32-true", "bf16-mixed"]] = {"fp32": "32-true", "bf16": "bf16-mixed"}
LOGGERS = ("lightning.pytorch", "lightning.fabric")


def fit(module: SegmentationModule, splits: Splits, *, recorder: Recorder, device: str) -> int:
    """Train as ``module.recipe`` says, validating every ``validate_every`` iterations and at the end.

    Returns:
        The iterations made: fewer than asked for after Ctrl-C.
    """
    training = module.recipe.training
    val = None if splits.val is None else ValidationLoader(splits.val, workers=module.recipe.data.workers)
    with _quiet_lightning():
        trainer = build_trainer(module, recorder=recorder, device=device, validates=val is not None)
        train = training_loader(splits, module.recipe, pin_memory=trainer.strategy.root_device.type == "cuda")
        try:
            trainer.fit(module, train, val)
            if val is not None and training.iterations % training.validate_every:
                trainer.validate(module, val, verbose=False)
        except SystemExit:  # what Lightning makes of Ctrl-C
            if trainer.state.status != TrainerStatus.INTERRUPTED:
                raise
    return trainer.global_step


def build_trainer(module: SegmentationModule, *, recorder: Recorder, device: str, validates: bool) -> Trainer:
    """One device, no files, no bars, no sanity steps of Lightning's own."""
    training = module.recipe.training
    return Trainer(
        accelerator=device,
        devices=1,
        precision=PRECISIONS[training.precision],
        max_steps=training.iterations,
        val_check_interval=training.validate_every if validates else None,
        check_val_every_n_epoch=None,
        gradient_clip_val=training.gradient_clip,
        callbacks=[recorder],
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """No device lists, tips and hints about workers: what a user needs to know, this package says itself."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        try:
            for name in LOGGERS:
                logging.getLogger(name).setLevel(logging.ERROR)
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
