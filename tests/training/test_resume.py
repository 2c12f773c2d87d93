"""Going on with a run, in one process; tests/training/test_kill.py kills real ones."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from torchvision import tv_tensors
from training.kills import left

from featalign.data import Sample
from featalign.errors import ConfigError, FeatalignError
from featalign.models import create_model
from featalign.spec import Classes
from featalign.training import Recipe
from featalign.training.run import RunResult, train
from featalign.training.splits import Splits

Tiny = Callable[..., Recipe]
STEPS = ["training.iterations=6", "training.batch=2", "training.checkpoint_every=2", "training.validate_every=3"]
STEPS += ["data.depth=16"]  # images of 16 bits are floats, and can hold nan


class Drawn:
    """Noise that differs from image to image; ``at`` is called with the number of each read, from 1."""

    def __init__(self, length: int = 4, *, at: Callable[[int], None] = lambda count: None, bad: int = -1) -> None:
        self.length, self.at, self.bad, self.count = length, at, bad, 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        self.count += 1
        self.at(self.count)
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(0, 65536, (3, 64, 64), generator=generator).float()
        mask = (image.mean(0) > 32768).long()
        if index == self.bad:
            image[:] = math.nan
        return {"image": tv_tensors.Image(image), "mask": tv_tensors.Mask(mask), "name": f"image{index}"}


def splits(learn: Drawn | None = None) -> Splits:
    return Splits(learn or Drawn(), Drawn(2), Classes.numbered(2))


def go(out: Path, recipe: Recipe, learn: Drawn | None = None, **options: Any) -> tuple[RunResult, str]:
    """Train; the result and what was said."""
    console = Console(file=io.StringIO(), width=200)
    result = train(recipe, data=splits(learn), out=out, device="cpu", console=console, **options)
    assert isinstance(console.file, io.StringIO)
    return result, console.file.getvalue()


def stopping_at(read: int) -> Drawn:
    """As Ctrl-C, at the ``read``-th image."""

    def interrupt(count: int) -> None:
        if count == read:
            os.kill(os.getpid(), signal.SIGINT)

    return Drawn(at=interrupt)


def killed(read: int) -> None:
    raise RuntimeError("killed")


def stopped(out: Path, recipe: Recipe, *, read: int = 10) -> RunResult:
    return go(out, recipe, stopping_at(read))[0]


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_interrupted_run_goes_on_with_the_same_bytes(tmp_path: Path, tiny: Tiny) -> None:
    recipe = tiny(*STEPS, "training.ema=0.5")
    go(tmp_path / "whole", recipe)
    assert stopped(tmp_path / "run", recipe).interrupted
    result, said = go(tmp_path / "run", recipe)
    assert "going on after step 5 of 6" in said
    assert not result.interrupted and result.iterations == 6
    assert left(tmp_path / "run") == left(tmp_path / "whole")


def test_numbers_of_an_interrupted_run_do_not_outlive_its_model(tmp_path: Path, tiny: Tiny) -> None:
    """Where it goes on and is then killed, model/ may hold the weights of a later validation."""
    recipe, run = tiny(*STEPS), tmp_path / "run"
    stopped(run, recipe)
    assert (run / "metrics.json").is_file()
    with pytest.raises(RuntimeError, match="killed"):
        go(run, recipe, Drawn(at=killed))
    assert not (run / "metrics.json").exists()


def test_run_killed_before_its_first_checkpoint_begins_again_with_its_weights(tmp_path: Path, tiny: Tiny) -> None:
    donor = create_model("fpn", backbone="resnet10t", width=16, classes=2)
    save_file(donor.state_dict(), tmp_path / "donor.safetensors")
    recipe, run = tiny(*STEPS, f"training.start_from={tmp_path / 'donor.safetensors'}"), tmp_path / "run"
    go(tmp_path / "whole", recipe)
    stopped(run, recipe)
    shutil.rmtree(run / "checkpoints")
    result, _ = go(run, recipe)
    assert not result.interrupted and (run / "start_from.json").is_file()
    assert left(run) == left(tmp_path / "whole")


def test_unreadable_checkpoint_gives_way_to_the_one_before(tmp_path: Path, tiny: Tiny) -> None:
    recipe, run = tiny(*STEPS), tmp_path / "run"
    go(tmp_path / "whole", recipe)
    stopped(run, recipe)
    *_, before, newest = checkpoints(run)
    (run / "checkpoints" / newest / "model.safetensors").write_bytes(b"half")
    _, said = go(run, recipe)
    assert f"{newest}: checkpoint cannot be read (model.safetensors is damaged); trying the one before" in said
    assert f"going on after step {int(before[5:13])} of 6" in said
    assert left(run) == left(tmp_path / "whole")


def test_no_readable_checkpoint_is_an_error_and_removes_nothing(tmp_path: Path, tiny: Tiny) -> None:
    recipe, run = tiny(*STEPS), tmp_path / "run"
    stopped(run, recipe)
    for name in checkpoints(run):
        (run / "checkpoints" / name / "state.json").unlink()
    there = sorted(run.rglob("*"))
    with pytest.raises(FeatalignError, match=r"no checkpoint can be read; begin again with --overwrite"):
        go(run, recipe)
    assert sorted(run.rglob("*")) == there


def test_what_changes_nothing_learnt_may_change(tmp_path: Path, tiny: Tiny) -> None:
    recipe = tiny(*STEPS)
    go(tmp_path / "whole", recipe)
    stopped(tmp_path / "run", recipe)
    changed = recipe.with_overrides(["training.on_nan=skip", "training.checkpoint_every=null", "data.workers=1"])
    assert go(tmp_path / "run", changed)[0].iterations == 6
    assert left(tmp_path / "run") == left(tmp_path / "whole")


def test_another_recipe_or_other_data_is_refused(tmp_path: Path, tiny: Tiny) -> None:
    recipe, run = tiny(*STEPS), tmp_path / "run"
    stopped(run, recipe)
    with pytest.raises(ConfigError, match=r"unfinished run of another recipe \(training.lr is 0.01 there, 0.02 here"):
        go(run, recipe.with_overrides(["training.lr=0.02"]))
    with pytest.raises(ConfigError, match=r"other data \(4 training and 2 validation .* there, 5 training and 2 "):
        go(run, recipe, Drawn(5))
    assert checkpoints(run)


def test_finished_run_is_left_alone(tmp_path: Path, tiny: Tiny) -> None:
    recipe = tiny(*STEPS)
    first, _ = go(tmp_path, recipe)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again, said = go(tmp_path, recipe)
    assert "this run is finished" in said
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert (again.iterations, again.interrupted) == (6, False)
    assert again.best is not None and first.best is not None and again.best["miou"] == first.best["miou"]


def test_checkpoints_of_a_finished_run_go_if_the_end_came_before(tmp_path: Path, tiny: Tiny) -> None:
    recipe, run = tiny(*STEPS), tmp_path / "run"
    stopped(run, recipe)
    shutil.copytree(run / "checkpoints", tmp_path / "kept")
    go(run, recipe)
    shutil.copytree(tmp_path / "kept", run / "checkpoints")  # as after SIGKILL between the numbers and their removal
    (run / "last" / ".model.0a1b.tmp.safetensors").touch()
    _, said = go(run, recipe)
    assert "this run is finished" in said
    assert not (run / "checkpoints").exists() and not list(run.rglob(".*"))


def test_finished_run_on_a_disk_that_is_only_read_says_so(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(*STEPS)
    go(tmp_path, recipe)
    (tmp_path / "last" / ".model.0a1b.tmp.safetensors").touch()

    def refused(*arguments: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    opened = Path.open

    def only_read(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        return opened(path, mode, *arguments, **options) if mode in ("r", "rb") else refused()

    monkeypatch.setattr(Path, "open", only_read)
    for name in ("unlink", "rmdir", "mkdir", "rename", "replace"):
        monkeypatch.setattr(Path, name, refused)
        monkeypatch.setattr(os, name, refused)
    result, said = go(tmp_path, recipe)
    assert "this run is finished" in said and result.iterations == 6


def test_newer_packages_are_noted(tmp_path: Path, tiny: Tiny) -> None:
    recipe = tiny(*STEPS)
    stopped(tmp_path, recipe)
    there = json.loads((tmp_path / "versions.json").read_text())
    (tmp_path / "versions.json").write_text(json.dumps({**there, "torch": "2.11.0"}))
    assert "note: torch 2.11.0 then" in go(tmp_path, recipe)[1]


def test_a_folder_takes_one_process_at_a_time(tmp_path: Path, tiny: Tiny) -> None:
    recipe = tiny(*STEPS)
    stopped(tmp_path, recipe)
    hold = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    command = [sys.executable, "-c", hold, str(tmp_path / "log.jsonl")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        for overwrite in (False, True):
            with pytest.raises(ConfigError, match="another process is training in this folder"):
                go(tmp_path, recipe, overwrite=overwrite)
        other.communicate(b"\n")
    assert go(tmp_path, recipe)[0].iterations == 6


def test_interrupt_in_a_validation_loses_nothing(tmp_path: Path, tiny: Tiny) -> None:
    """It is given up at once, and made again first of all."""
    recipe = tiny(*STEPS, "training.checkpoint_every=null")
    go(tmp_path / "whole", recipe)
    val = Drawn(2, at=stopping_at(1).at)
    data = Splits(Drawn(), val, Classes.numbered(2))
    assert train(recipe, data=data, out=tmp_path / "run", device="cpu", console=Console(quiet=True)).iterations == 3
    assert checkpoints(tmp_path / "run") == ["step-00000003"]
    assert "going on after step 3 of 6" in go(tmp_path / "run", recipe)[1]
    assert left(tmp_path / "run") == left(tmp_path / "whole")


def test_best_model_is_stored_again_if_the_end_came_before(tmp_path: Path, tiny: Tiny) -> None:
    """The checkpoint of a better validation is written before the model."""
    recipe = tiny(*STEPS, "training.checkpoint_every=null")
    go(tmp_path / "whole", recipe)
    with pytest.raises(RuntimeError, match="as if killed"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("featalign.training.semantic.save_model", _as_if_killed)
        go(tmp_path / "run", recipe)
    assert checkpoints(tmp_path / "run") == ["step-00000003-validated"]
    go(tmp_path / "run", recipe)
    assert left(tmp_path / "run") == left(tmp_path / "whole")


def _as_if_killed(*arguments: object) -> None:
    raise RuntimeError("as if killed")


def test_early_stop_finishes_the_run(tmp_path: Path, tiny: Tiny) -> None:
    """With a learning rate of nearly 0 the answers stay; statistics may move them once."""
    still = ["training.iterations=30", "training.lr=1e-30", "training.validate_every=1", "training.early_stop=2"]
    recipe = tiny(*STEPS, *still)
    result, said = go(tmp_path, recipe)
    assert not result.interrupted and result.best is not None
    assert result.iterations == result.best["step"] + 2 < 30
    assert f"stopped early after {result.iterations} of 30 iterations" in said
    assert not (tmp_path / "checkpoints").exists()
    assert "this run is finished" in go(tmp_path, recipe)[1]


def test_bad_batch_stops_and_the_last_good_checkpoint_goes_on(tmp_path: Path, tiny: Tiny) -> None:
    recipe = tiny(*STEPS, "training.batch=1", "training.iterations=8")
    with pytest.raises(FeatalignError, match=r"at step \d on image2; .* with --on-nan skip") as caught:
        go(tmp_path, recipe, Drawn(bad=2))
    step = int(str(caught.value).split(" at step ")[1].split()[0])
    newest = checkpoints(tmp_path)[-1] if step > 2 else None
    assert newest is None or int(newest[5:13]) < step
    result, said = go(tmp_path, recipe.with_overrides(["training.on_nan=skip"]), Drawn(bad=2))
    assert result.skipped == 2 and "2 steps were skipped" in said, "8 steps go twice over 4 images"
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    skipped = [row for row in rows if row["kind"] == "skipped"]
    assert [row["files"] for row in skipped] == [["image2"], ["image2"]]
    assert skipped[0]["step"] == step, "the message and the log count alike"
    assert all(math.isfinite(row["miou"]) for row in rows if row["kind"] == "validation")
    assert json.loads((tmp_path / "metrics.json").read_text())["skipped"] == 2


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_images_of_16_bits_are_learnt_from_under_autocast(tmp_path: Path, tiny: Tiny, precision: str) -> None:
    losses = []
    for chosen in ("fp32", precision):
        go(tmp_path / chosen, tiny(*STEPS, "training.iterations=1", f"training.precision={chosen}"))
        losses.append(json.loads((tmp_path / chosen / "log.jsonl").read_text().splitlines()[0])["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_one_image_and_a_class_that_never_occurs(tmp_path: Path, tiny: Tiny) -> None:
    data = Splits(Drawn(1), Drawn(1), Classes.numbered(5))
    result, again = (
        train(tiny(*STEPS), data=data, out=tmp_path, device="cpu", console=Console(quiet=True)) for _ in range(2)
    )
    assert result.best is not None and math.isfinite(result.best["miou"])
    assert result.best["absent"] == ["class 2", "class 3", "class 4"]
    assert again.best is not None and again.best["iou"] == pytest.approx(result.best["iou"], nan_ok=True)


def test_moved_folder_goes_on(tmp_path: Path, tiny: Tiny) -> None:
    recipe = tiny(*STEPS)
    stopped(tmp_path / "run", recipe)
    shutil.move(tmp_path / "run", tmp_path / "moved")
    assert go(tmp_path / "moved", recipe)[0].iterations == 6
