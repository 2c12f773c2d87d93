"""From a recipe and data to a run folder; and on from where an earlier process stopped."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from lightning_fabric import Fabric
from rich.console import Console

from featalign.training.assembly import assemble
from featalign.training.beginning import Beginning, begin_run
from featalign.training.engine import device_type, open_fabric
from featalign.training.guards import deterministic, explained
from featalign.training.interrupts import Interrupts
from featalign.training.log import RunLog
from featalign.training.progress import ProgressLine
from featalign.training.recipe import Recipe
from featalign.training.recorder import Recorder
from featalign.training.result import RunResult, conclude, earlier_result
from featalign.training.run_folder import RunFolder
from featalign.training.semantic import build_model
from featalign.training.splits import Splits
from featalign.training.tasks import task_of
from featalign.training.tensorboard import TensorBoardLog, require_tensorboard
from featalign.training.world import World, joined

__all__ = ["RunResult", "build_model", "train"]


def train(
    recipe: Recipe,
    *,
    data: Path | Splits,
    out: Path,
    overwrite: bool = False,
    device: str = "auto",
    console: Console | None = None,
) -> RunResult:
    """Train a model and leave a run folder: model/, last/, log.jsonl, metrics.json, recipe.yaml, versions.json.

    Everything is checked before the first step. Where ``out`` holds an unfinished run of the same recipe and data, it
    goes on from its last checkpoint; a finished one is left as it is. Ctrl-C and SIGTERM end the run after the step,
    with a checkpoint. On a CPU, the same recipe, data and number of threads give the same weights, bit for bit, however
    often the run was killed and went on; torch's global seed is set.

    Started by torchrun, this process takes its share of every batch and every validation.

    Args:
        recipe: every choice.
        data: a folder in the recipe's layout, which is read and checked in full first; or open splits, taken as given.
        out: the run folder, made if missing.
        overwrite: replace a run that is there.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        console: where progress is shown; stderr by default.

    Raises:
        ConfigError: if ``out`` holds another run, or the recipe asks for what does not exist.
        DataError: if the data cannot be trained on.
        FeatalignError: if a file cannot be written, the loss is no longer finite, or another process failed.
    """
    world, kind = World.from_environment(), device_type(device)
    recipe.require_normalizable(world.share(recipe.training.batch))
    if recipe.training.tensorboard:
        require_tensorboard()
    console = (console or Console(stderr=True)) if world.first else Console(quiet=True)
    with (
        explained(),
        deterministic(recipe.training.deterministic),
        joined(world, backend="nccl" if kind == "cuda" else "gloo"),
    ):
        fabric = open_fabric(world, device=device, precision=recipe.training.precision)
        folder = RunFolder(out)
        splits = data if isinstance(data, Splits) else task_of(recipe).open_splits(data, recipe.data)
        begun = begin_run(
            recipe, data, splits, folder, fabric=fabric, world=world, overwrite=overwrite, console=console
        )
        if begun.start.finished:
            return earlier_result(folder)
        return _train(begun, recipe, splits, folder, fabric=fabric, world=world, console=console)


def _train(
    begun: Beginning,
    recipe: Recipe,
    splits: Splits,
    folder: RunFolder,
    *,
    fabric: Fabric,
    world: World,
    console: Console,
) -> RunResult:
    log_path, checkpoint = folder.log if world.first else Path(os.devnull), begun.start.checkpoint
    with ExitStack() as stack:
        log = stack.enter_context(RunLog(log_path))
        progress = stack.enter_context(ProgressLine(console, total=recipe.training.iterations))
        board = None
        if recipe.training.tensorboard and world.first:
            resumed_at = None if checkpoint is None else checkpoint.step
            board = stack.enter_context(TensorBoardLog(folder.tensorboard, resumed_at=resumed_at))
        recorder = Recorder(recipe.training, validates=splits.val is not None, log=log, board=board, progress=progress)
        fit = assemble(begun, recipe, splits, folder, fabric=fabric, world=world, recorder=recorder)
        with Interrupts() as interrupts:
            done, finished = fit.run(checkpoint, interrupts)
        return conclude(fit, folder, done=done, finished=finished)
