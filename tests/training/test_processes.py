"""Two processes on one machine, started as torchrun starts them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training.kills import left, plan, run_plans

from featalign.data import normalize, open_dataset
from featalign.errors import ConfigError
from featalign.models import load_model
from featalign.training import Recipe
from featalign.training.engine import lay_out
from featalign.training.module import Learner, seed_step
from featalign.training.semantic import build_model
from featalign.training.splits import open_splits, training_loader
from featalign.training.world import World

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
STEPS = ["training.batch=4", "training.checkpoint_every=2", "training.validate_every=3", "training.query=mixed"]


@pytest.fixture
def uneven(scenes: Path) -> Path:
    """Three validation images for two processes."""
    for kind in ("images", "masks"):
        shutil.copy(scenes / "train" / kind / "train3.png", scenes / "val" / kind / "val2.png")
    return scenes


def test_two_processes(tmp_path: Path, tiny: Callable[..., Recipe], uneven: Path) -> None:
    """One fork server for all of it, since starting Python takes longer than the trainings."""
    recipe = tiny(*STEPS, "training.iterations=4", "training.ema=0.8")
    one = tiny("training.batch=4", "training.iterations=1", "training.lr=0.1")
    killed, fault, lost = {"rank": 0, "call": 0.5}, {"rank": 1, "raise": 0.5}, {"rank": 1, "call": 0.5}
    plans = [
        plan(tmp_path, recipe, uneven, "whole", None, processes=2),
        plan(tmp_path, recipe, uneven, "killed", killed, None, processes=2),
        plan(tmp_path, recipe, uneven, "fault", fault, processes=2),
        plan(tmp_path, recipe, uneven, "lost", lost, processes=2),
        plan(tmp_path, one, uneven, "one", None, processes=2),
    ]
    ((whole,), (first, resumed), (second,), (third,), (single,)), said = run_plans(tmp_path, plans)
    ended = [first, second, third]
    assert whole["codes"] == resumed["codes"] == single["codes"] == [0, 0], said
    assert [attempt["codes"] for attempt in ended] == [[-9, 2], [2, 2], [2, -9]], said
    assert max(attempt["seconds"] for attempt in ended) < 60
    assert "featalign: process 1 of 2: a fault made for the test" in said
    assert "featalign: process 0 of 2: stopped, because process 1 failed" in said
    assert "featalign: process 0 of 2: another process was killed, crashed or no longer answers" in said
    assert "Traceback" not in said
    assert left(tmp_path / "killed") == left(tmp_path / "whole")
    assert_scores_are_those_of_one_process(tmp_path / "whole", uneven)
    assert_step_is_the_mean_of_both(tmp_path / "one", one, uneven)


def assert_scores_are_those_of_one_process(run: Path, data: Path) -> None:
    """Each of the three images counts once: counted again here, in one process, by plain numpy."""
    model, hits, union = load_model(run / "model"), np.zeros(2), np.zeros(2)
    for item in open_dataset(data, "val"):
        truth = item["mask"].numpy()
        with torch.no_grad():
            logits = model(normalize(item["image"][None], model.normalization), size=truth.shape)
        found = np.where(truth == 255, 255, logits[0].argmax(0).numpy())
        for k in range(2):
            hits[k] += np.sum((found == k) & (truth == k))
            union[k] += np.sum((found == k) | (truth == k))
    best = json.loads((run / "metrics.json").read_text())["validation"]
    assert best["miou"] == pytest.approx(np.mean(hits / union), abs=1e-6)


def assert_step_is_the_mean_of_both(run: Path, recipe: Recipe, data: Path) -> None:
    """Each process's half of the batch by itself here; the mean of both gradients, and one step of SGD by hand."""
    splits = open_splits(data, recipe.data)
    gradients: list[list[torch.Tensor]] = []
    for rank in range(2):
        torch.manual_seed(recipe.training.seed)
        model = build_model(recipe, splits.classes).train()
        lay_out(model, torch.device("cpu"), precision="fp32")  # the same rounding
        batch = next(iter(training_loader(splits, recipe, counts=None, world=World(rank, 2, rank, 2))))
        assert len(batch["name"]) == 2
        seed_step(recipe.training.seed, 0, rank)
        Learner(model, recipe)(batch, 0)["loss"].backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    stored = load_file(run / "last" / "model.safetensors")
    names = [name for name, p in model.named_parameters() if p.grad is not None]
    before = dict(model.named_parameters())
    for name, first, second in zip(names, *gradients, strict=True):
        decayed = (first + second) / 2 + recipe.training.weight_decay * before[name].detach()
        expected = before[name].detach() - recipe.training.lr * decayed
        torch.testing.assert_close(stored[name], expected, atol=1e-6, rtol=1e-5)


def test_batch_must_come_out_even() -> None:
    assert World(size=2).share(8) == 4
    with pytest.raises(ConfigError, match=r"batch=7 .* cannot be shared evenly by 3; take 6 or 9"):
        World(size=3).share(7)
    with pytest.raises(ConfigError, match=r"shared evenly by 4; take 4$"):
        World(size=4).share(2)


def test_one_small_crop_per_process_is_refused(tiny: Callable[..., Recipe]) -> None:
    """Its map at stride 32 would be one cell, which has no variance."""
    recipe = tiny("training.batch=2", "data.crop=32")
    recipe.require_normalizable(World(size=1).share(2))
    with pytest.raises(ConfigError, match=r"one crop of 32 x 32 in a process .* take a larger batch or data.crop"):
        recipe.require_normalizable(World(size=2).share(2))


def test_place_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert World.from_environment() == World(0, 1, 0, 1)
    values = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    for name, value in {**values, "MASTER_ADDR": "host", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert World.from_environment() == World(rank=5, size=8, local_rank=1, local_size=4)
    assert not World.from_environment().first
