"""What ``featalign train`` does with its options."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from featalign.cli.console import err, out, percent
from featalign.errors import ConfigError
from featalign.training import Recipe, load_recipe
from featalign.training.world import World

TITLES = {"miou": "mIoU", "ap": "AP", "pq": "PQ"}
"""Of what the best network of a run has the most of, by its name in the log."""


def choose_recipe(name: str, overrides: Sequence[str], fields: Mapping[str, object]) -> Recipe:
    """The recipe with what ``--set`` overrides, and the ``fields`` that have options of their own, which go before."""
    options = [f"{field}={json.dumps(value)}" for field, value in fields.items()]
    return load_recipe(name).with_overrides([*overrides, *options])


def run_training(
    recipe: Recipe, *, data: Path, output: Path, device: str, devices: int, resume: bool, overwrite: bool
) -> int:
    """Train in this process, or in ``devices`` of them; the exit code, 130 where it was interrupted."""
    if resume and overwrite:
        raise ConfigError("--resume goes on with the run that is there and --overwrite replaces it; give one of them")
    world = World.from_environment()
    if devices > 1 and world.size == 1:
        from featalign.training.launch import launch

        recipe.require_normalizable(World(size=devices).share(recipe.training.batch))
        return launch(sys.argv[1:], processes=devices)
    from featalign.training.run import train
    from featalign.training.run_folder import RunFolder

    if resume and world.first and not RunFolder(output).earlier():
        err.print(f"{output}: nothing to resume there; starting at the first step")
    result = train(recipe, data=data, out=output, device=device, overwrite=overwrite)
    if world.first:
        if result.best is not None:
            metric, step = result.best["metric"], result.best["step"]
            out.print(f"best {TITLES[metric]} {percent(result.best[metric])} on validation at iteration {step}")
        out.print(f"model in {result.folder / 'model'}")
    return 130 if result.interrupted else 0
