"""The training loop against a bare PyTorch one on the same network and batches; and how long it waits for data.

    python benchmarks/training_loop.py DATA --recipe camvid/fpn_ifa_resnet18 --steps 20 --json training_loop.json

The two loops take each step in turn, from the same weights, on batches that lie in memory; the median of the ratios of
their times is what seeding, guarding, measuring and logging cost. On a CPU process time counts, so that other work on
the machine does not; on a GPU wall time. Some of the cost goes by the network's size alone (the norm of the gradient),
so it weighs most on small batches of small crops: measure at the recipe's own. Waiting is the share of the wall time in
which a step has no batch yet, and depends on all that the machine does.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from featalign.data import Batch, normalize
from featalign.models import Segmentor
from featalign.training import Recipe, load_recipe
from featalign.training.assembly import assemble, build_recorder
from featalign.training.beginning import Beginning, build_model
from featalign.training.engine import open_fabric
from featalign.training.fit import Fit
from featalign.training.log import RunLog
from featalign.training.objective import objective
from featalign.training.optimization import build_optimizer
from featalign.training.progress import ProgressLine
from featalign.training.resume import Start
from featalign.training.run_folder import RunFolder, prepare
from featalign.training.splits import Splits, open_splits
from featalign.training.world import World

WARM_UP = 2  # steps of each kind that are not counted


def bare_step(model: Segmentor, recipe: Recipe, device: str) -> Callable[[int, Batch], object]:
    """What a loop by hand does in a step, and nothing else."""
    optimizer, scheduler = build_optimizer(model.to(device).train(), recipe.training)

    def step(number: int, batch: Batch) -> object:
        images, masks = normalize(batch["image"].to(device), model.normalization), batch["mask"].to(device)
        optimizer.zero_grad()
        loss = objective(model, images, masks, step=number, training=recipe.training, loss=recipe.loss).total
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


def compare(recipe: Recipe, splits: Splits, *, steps: int, device: str, root: Path) -> dict[str, float]:
    """Images per second of both loops, and what ours takes of the bare one's time."""
    model = build_model(recipe, splits.classes)
    fit = assembled(copy.deepcopy(model), recipe, splits, root / "compared", device)
    loops = {"featalign": our_step(fit), "bare": bare_step(model, recipe, device)}
    batches = list(_first(iter(fit.loader), 4))
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(WARM_UP + steps):
        for name in sorted(loops, reverse=number % 4 > 1):
            seconds[name].append(_timed(partial(loops[name], number, batches[number % 4]), device))
    medians = {name: statistics.median(values[WARM_UP:]) for name, values in seconds.items()}
    rates = {f"{name}_images_per_second": recipe.training.batch / value for name, value in medians.items()}
    pairs = zip(seconds["featalign"][WARM_UP:], seconds["bare"][WARM_UP:], strict=True)
    return {**rates, "time_ratio": statistics.median(ours / bare for ours, bare in pairs)}


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


def _first(batches: Iterator[Batch], count: int) -> Iterator[Batch]:
    return (next(batches) for _ in range(count))


def _timed(step: Callable[[], object], device: str) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    step()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start


def _markdown(found: dict[str, object]) -> str:
    waits: dict[str, float] = found["waiting"]  # type: ignore[assignment]
    loop: dict[str, float] = found["loop"]  # type: ignore[assignment]
    lines = ["| loop | images/s |", "|---|---:|"]
    lines += [f"| {name} | {loop[f'{name}_images_per_second']:.2f} |" for name in ("featalign", "bare")]
    lines += [f"\nTime of a step over the bare loop's: {loop['time_ratio']:.3f}\n"]
    lines += ["| workers | waiting for data |", "|---|---:|"]
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
        found: dict[str, object] = {
            "recipe": arguments.recipe,
            **options,
            "threads": arguments.threads,
            "loop": compare(recipe, splits, root=root, **options),
            "waiting": {
                f"{workers}{', cache' if cache else ''}": waiting(
                    recipe, arguments.data, workers=workers, cache=cache, out=root, **options
                )
                for workers in arguments.workers
                for cache in (False, True)
            },
        }
    print(_markdown(found))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
