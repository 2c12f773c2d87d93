"""The training loop against a bare PyTorch one on the same network and batches; and how long it waits for data.

    python benchmarks/training_loop.py DATA --recipe camvid/fpn_ifa_resnet18 --steps 20 --json training_loop.json

The loops take each step in turn, from the same weights, on batches that lie in memory. One of the bare ones lays the
weights out as ours does, so the median of the ratios of their times is what seeding, guarding, measuring and logging
cost; the other leaves them as torch makes them. Process time and wall time are both told; on a GPU only the latter
means something. Some of the cost goes by the size of the network alone (the norm of the gradient) and weighs most on
small batches of small crops: measure at those of a recipe. Waiting is the share of the wall time in which a step has
no batch yet, and depends on all that the machine does.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console

from featalign.data import Batch, normalize
from featalign.models import Segmentor
from featalign.training import Recipe, load_recipe
from featalign.training.assembly import assemble, build_recorder
from featalign.training.beginning import Beginning
from featalign.training.engine import lay_out, open_fabric
from featalign.training.fit import Fit
from featalign.training.log import RunLog
from featalign.training.objective import objective
from featalign.training.optimization import build_optimizer
from featalign.training.progress import ProgressLine
from featalign.training.resume import Start
from featalign.training.run_folder import RunFolder, prepare
from featalign.training.semantic import build_model
from featalign.training.splits import Splits, open_splits
from featalign.training.world import World

OURS = "featalign"
WARM_UP = 2  # steps of each kind that are not counted


def bare_step(model: Segmentor, recipe: Recipe, device: str) -> Callable[[int, Batch], object]:
    """What a loop by hand does in a step, and nothing else."""
    training, loss_recipe = recipe.training, recipe.loss
    optimizer, scheduler = build_optimizer(model.to(device).train(), training)

    def step(number: int, batch: Batch) -> object:
        images, masks = normalize(batch["image"].to(device), model.normalization), batch["mask"].to(device)
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=training.precision == "bf16"):
            loss = objective(model, images, masks, step=number, training=training, loss=loss_recipe).total
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss.item()

    return step


def our_step(fit: Fit) -> Callable[[int, Batch], object]:
    """What a run does in a step, its log included."""
    fit.trainee.model.train()

    def step(number: int, batch: Batch) -> object:
        taken = fit.stepper.take(number, iter([batch]), stop=lambda: False)
        fit.recorder.step(number + 1, taken)
        return taken

    return step


def assembled(model: Segmentor, recipe: Recipe, splits: Splits, root: Path, device: str) -> Fit:
    """A run of its own, ready for its first step; nothing is shown."""
    world, folder = World.from_environment(), RunFolder(root)
    prepare(folder)
    fabric = open_fabric(world, device=device, precision=recipe.training.precision)
    progress = ProgressLine(Console(quiet=True), total=recipe.training.iterations)
    recorder = build_recorder(recipe, splits, log=RunLog(folder.log), board=None, progress=progress)
    begun = Beginning(fabric.to_device(model), Start(), None, None)
    return assemble(begun, recipe, splits, folder, fabric=fabric, world=world, recorder=recorder)


def compare(recipe: Recipe, splits: Splits, *, steps: int, device: str, root: Path) -> dict[str, dict[str, float]]:
    """Of each bare loop, and of ours: seconds per step, and what ours takes of the bare one's time; by both clocks."""
    model = build_model(recipe, splits.classes)
    laid_out = copy.deepcopy(model)
    lay_out(laid_out, torch.device(device), precision=recipe.training.precision)
    fit = assembled(copy.deepcopy(model), recipe, splits, root / "compared", device)
    loops = {
        OURS: our_step(fit),
        "bare": bare_step(laid_out, recipe, device),
        "bare, torch's order": bare_step(model, recipe, device),
    }
    batches = list(islice(fit.loader, 4))
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for number in range(WARM_UP + steps):
        for name in sorted(loops, reverse=number % 4 > 1):
            taken[name].append(_timed(partial(loops[name], number, batches[number % 4]), device))
    return {name: _compared(taken[OURS][WARM_UP:], times[WARM_UP:]) for name, times in taken.items()}


def _compared(ours: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> dict[str, float]:
    """Medians, by the process's clock and by the wall's."""
    found = {}
    for place, clock in enumerate(("process", "wall")):
        found[f"{clock}_seconds"] = statistics.median(times[place] for times in theirs)
        found[f"{clock}_ratio"] = statistics.median(a[place] / b[place] for a, b in zip(ours, theirs, strict=True))
    return found


def waiting(recipe: Recipe, root: Path, *, workers: int, cache: bool, steps: int, device: str, out: Path) -> float:
    """Share of the wall time of ``steps`` steps in which there was no batch yet."""
    recipe = recipe.with_overrides([f"data.workers={workers}", f"data.cache={str(cache).lower()}"])
    splits = open_splits(root, recipe.data)
    fit = assembled(build_model(recipe, splits.classes), recipe, splits, out / f"waiting-{workers}-{cache}", device)
    step, batches = our_step(fit), iter(fit.loader)
    waited, begun = 0.0, 0.0
    for number in range(WARM_UP + steps):
        if number == WARM_UP:
            waited, begun = 0.0, time.perf_counter()
        start = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - start
        step(number, batch)
    return waited / (time.perf_counter() - begun)


def _timed(step: Callable[[], object], device: str) -> tuple[float, float]:
    """Seconds by the process's clock and by the wall's."""
    process, wall = time.process_time(), time.perf_counter()
    step()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.process_time() - process, time.perf_counter() - wall


def _markdown(batch: int, loops: dict[str, dict[str, float]], waits: dict[str, float]) -> str:
    lines = ["| loop | images/s | time of ours / its time: process | wall |", "|---|---:|---:|---:|"]
    for name, found in loops.items():
        rate, process, wall = batch / found["wall_seconds"], found["process_ratio"], found["wall_ratio"]
        lines.append(f"| {name} | {rate:.2f} | {process:.3f} | {wall:.3f} |")
    if waits:
        lines += ["\n| workers | waiting for data |", "|---|---:|"]
    lines += [f"| {name} | {100 * share:.1f} % |" for name, share in waits.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", default="camvid/fpn_ifa_resnet18")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = load_recipe(arguments.recipe).with_overrides(arguments.set)
    splits = open_splits(arguments.data, recipe.data)
    options = {"steps": arguments.steps, "device": arguments.device}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        loops = compare(recipe, splits, root=root, **options)
        waits = {
            f"{workers}{', cache' if cache else ''}": waiting(
                recipe, arguments.data, workers=workers, cache=cache, out=root, **options
            )
            for workers in arguments.workers
            for cache in (False, True)
        }
    print(_markdown(recipe.training.batch, loops, waits))
    if arguments.json:
        asked = {"recipe": arguments.recipe, "set": arguments.set, "threads": arguments.threads, **options}
        found = {**asked, "loops": loops, "waiting": waits}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
