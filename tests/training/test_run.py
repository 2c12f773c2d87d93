from __future__ import annotations

import io
import json
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from torchvision import tv_tensors

from featalign.data import FolderDataset, Sample, normalize
from featalign.errors import ConfigError, DataError, FeatalignError
from featalign.inference import Predictor, evaluate
from featalign.models import create_model, load_model
from featalign.spec import Classes
from featalign.training import Recipe, load_recipe
from featalign.training.judging import PixelJudge
from featalign.training.run import RunResult, train
from featalign.training.splits import Splits

Tiny = Callable[..., Recipe]


class Fixed:
    """One sample again and again; ``at`` is called with the count of reads so far."""

    def __init__(self, sample: Sample, *, length: int = 4, at: Callable[[int], None] = lambda count: None) -> None:
        self.sample, self.length, self.at, self.count = sample, length, at, 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        if index >= self.length:
            raise IndexError(index)
        self.at(self.count)
        self.count += 1
        return self.sample


def sample(label: int | None = None) -> Sample:
    """64 x 64: the left half dark and of class 0, the right half bright and of class 1; or ``label`` everywhere."""
    mask = torch.zeros(64, 64, dtype=torch.int64)
    mask[:, 32:] = 1
    image = (mask * 150 + 50).to(torch.uint8).expand(3, -1, -1)
    mask = mask if label is None else torch.full_like(mask, label)
    return {"image": tv_tensors.Image(image), "mask": tv_tensors.Mask(mask), "name": "half"}


def fixed_splits(train_set: Fixed, val_set: Fixed | None = None) -> Splits:
    return Splits(train_set, val_set, Classes.numbered(2))


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def rows(run: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in found if row["kind"] == kind]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def run_in(folder: Path, recipe: Recipe, data: Path | Splits, console: Console) -> RunResult:
    return train(recipe, data=data, out=folder, device="cpu", console=console)


def test_run_folder_is_complete(tmp_path: Path, tiny: Tiny, scenes: Path, quiet: Console) -> None:
    recipe = tiny("training.iterations=7", "training.batch=2", "training.validate_every=3", "training.warmup=2")
    result = run_in(tmp_path / "run", recipe, scenes, quiet)
    run = tmp_path / "run"
    parts = ["last", "log.jsonl", "metrics.json", "model", "normalization.json", "recipe.yaml", "versions.json"]
    assert sorted(path.name for path in run.iterdir()) == parts
    assert load_recipe(run / "recipe.yaml") == recipe
    assert {"python", "torch", "featalign", "platform"} <= json.loads((run / "versions.json").read_text()).keys()

    steps = rows(run, "train")
    assert [row["step"] for row in steps] == list(range(1, 8))
    keys = {"loss", "main_loss", "auxiliary_loss", "lr", "images_per_second", "seconds_left"}
    assert all(keys <= row.keys() for row in steps)
    expected = [0.01 * (1 - i / 7) ** 0.9 * min(1, (i + 1) / 3) for i in range(7)]
    assert [row["lr"] for row in steps] == pytest.approx(expected), "the rate that the step was made with"
    validations = rows(run, "validation")
    assert [row["step"] for row in validations] == [3, 6, 7]

    metrics = json.loads((run / "metrics.json").read_text())
    best = max(validations, key=lambda row: row["miou"])
    assert metrics["validation"] == {key: value for key, value in best.items() if key not in ("kind", "best")}
    assert metrics["iterations"] == result.iterations == 7
    assert metrics["seconds_per_iteration"] > 0
    assert not result.interrupted


def test_best_model_has_the_score_that_is_reported(tmp_path: Path, tiny: Tiny, scenes: Path, quiet: Console) -> None:
    """Counted again from the stored model by plain numpy, at each mask's own size."""
    recipe = tiny("training.iterations=12", "training.batch=2", "training.validate_every=4", "training.lr=0.05")
    result = run_in(tmp_path / "run", recipe, scenes, quiet)
    model = load_model(tmp_path / "run" / "model")
    inter, union = np.zeros(2), np.zeros(2)
    for item in FolderDataset(scenes, "val"):
        truth = item["mask"].numpy()
        with torch.no_grad():
            logits = model(normalize(item["image"][None], model.normalization), size=truth.shape)
        found = np.where(truth == 255, 255, logits[0].argmax(0).numpy())
        for k in range(2):
            inter[k] += np.sum((found == k) & (truth == k))
            union[k] += np.sum((found == k) | (truth == k))
    assert result.best is not None
    assert result.best["miou"] == pytest.approx(np.mean(inter / union), abs=1e-9)
    assert list(result.best["iou"].values()) == pytest.approx(inter / union, abs=1e-9)
    assert list(result.best["iou"]) == ["ground", "box"]


def test_smaller_inputs_are_validated_as_a_test_at_that_scale(tmp_path: Path, scenes: Path) -> None:
    torch.manual_seed(0)
    model = create_model("fpn", backbone="resnet10t", width=16, hidden=(24,), classes=2).eval()
    dataset = FolderDataset(scenes, "val")
    batches = [{"image": one["image"][None], "mask": one["mask"][None], "name": [one["name"]]} for one in dataset]
    with torch.no_grad():  # both classes are found: the last bias takes away their mean difference
        mean = model(normalize(batches[0]["image"], model.normalization)).mean((0, 2, 3))
        [bias for name, bias in model.named_parameters() if bias.shape == (2,) and "auxiliary" not in name][-1].sub_(
            mean
        )
        judged = []
        for scale in (0.5, 1.0):
            judge = PixelJudge(dataset.classes, input_scale=scale)
            for batch in batches:
                judge.see(model, batch, torch.device("cpu"))
            judged.append(judge.judgement().row["miou"])
    for scale, miou in zip((0.5, 1.0), judged, strict=True):
        assert miou == pytest.approx(evaluate(Predictor(model, device="cpu", scales=(scale,)), dataset).scores.miou)
    assert judged[0] != judged[1]


@pytest.mark.parametrize("query", ["grid", "points", "mixed"])
def test_loss_falls(tmp_path: Path, tiny: Tiny, quiet: Console, query: str) -> None:
    recipe = tiny("training.iterations=30", "training.batch=2", "training.lr=0.05", f"training.query={query}")
    run_in(tmp_path / "run", recipe, fixed_splits(Fixed(sample())), quiet)
    losses = [row["loss"] for row in rows(tmp_path / "run", "train")]
    assert np.mean(losses[-4:]) < 0.3 * np.mean(losses[:2])


def test_same_seed_same_weights(tmp_path: Path, tiny: Tiny, scenes: Path, quiet: Console) -> None:
    """Bit for bit, whatever the number of workers; another seed, other weights."""
    recipe = tiny("training.iterations=3", "training.batch=2", "training.query=mixed", "data.jitter=0.5")
    run_in(tmp_path / "a", recipe, scenes, quiet)
    run_in(tmp_path / "b", recipe.with_overrides(["data.workers=2"]), scenes, quiet)
    run_in(tmp_path / "c", recipe.with_overrides(["training.seed=1"]), scenes, quiet)
    first, second, other = (weights(tmp_path / run / "last") for run in "abc")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_void_batches_cost_nothing_and_training_goes_on(tmp_path: Path, tiny: Tiny, quiet: Console) -> None:
    recipe = tiny("training.iterations=3", "training.batch=2", "training.query=mixed")
    run_in(tmp_path / "run", recipe, fixed_splits(Fixed(sample(label=255))), quiet)
    assert [row["loss"] for row in rows(tmp_path / "run", "train")] == [0, 0, 0]
    assert all(torch.isfinite(tensor).all() for tensor in weights(tmp_path / "run" / "last").values())


def test_void_validation_has_no_score_but_a_model(tmp_path: Path, tiny: Tiny, quiet: Console) -> None:
    recipe = tiny("training.iterations=2", "training.batch=2", "training.validate_every=1")
    run_in(tmp_path / "run", recipe, fixed_splits(Fixed(sample()), Fixed(sample(label=255))), quiet)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["validation"]["miou"] is None
    last = weights(tmp_path / "run" / "last")
    assert all(torch.equal(last[name], tensor) for name, tensor in weights(tmp_path / "run" / "model").items())


def test_without_validation_split_the_last_model_is_kept(tmp_path: Path, tiny: Tiny, scenes: Path) -> None:
    console = Console(file=io.StringIO())
    recipe = tiny("training.iterations=2", "training.batch=1", "data.val_split=absent")
    result = run_in(tmp_path / "run", recipe, scenes, console)
    assert result.best is None
    assert said(console).count("nothing was validated") == 1
    load_model(tmp_path / "run" / "model")


@pytest.mark.parametrize("crop", ["128 x 128", "32 x 128", "128 x 32"])
def test_batch_of_one_crop_larger_than_the_image(tmp_path: Path, tiny: Tiny, scenes: Path, crop: str) -> None:
    console = Console(file=io.StringIO())
    sides = crop.replace(" x", ",")
    recipe = tiny("training.iterations=2", "training.batch=1", f"data.crop=[{sides}]", "data.scales=[0.5, 1.0]")
    result = run_in(tmp_path / "run", recipe, scenes, console)
    assert result.iterations == 2
    assert f"a crop of {crop} is larger than an image of 41 x 52 at the largest scale, 1.0" in said(console)


@pytest.mark.parametrize(
    "extra",
    [
        ["training.precision=bf16"],
        ["training.precision=fp16"],
        ["training.ema=0.5", "training.accumulate=2"],
        ["training.gradient_clip=0.1", "training.freeze=backbone_norms"],
        ["training.deterministic=true", "training.tensorboard=true"],
        ["data.oversample=0.5", "loss.class_weights=balanced"],
    ],
)
def test_options_of_training_run(tmp_path: Path, tiny: Tiny, scenes: Path, quiet: Console, extra: list[str]) -> None:
    recipe = tiny("training.iterations=2", "training.batch=2", *extra)
    result = run_in(tmp_path / "run", recipe, scenes, quiet)
    assert result.best is not None
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights(tmp_path / "run" / "model").values())


def test_gradient_is_clipped(tmp_path: Path, tiny: Tiny, quiet: Console) -> None:
    """One step of plain SGD moves the weights by at most lr times the limit."""
    steps = ["training.iterations=1", "training.batch=2", "training.lr=1", "training.momentum=0"]
    for name, extra in {"still": "training.lr=1e-30", "clipped": "training.gradient_clip=0.01"}.items():
        recipe = tiny(*steps, "training.weight_decay=0", extra)
        run_in(tmp_path / name, recipe, fixed_splits(Fixed(sample())), quiet)
    still, clipped = (weights(tmp_path / name / "last") for name in ("still", "clipped"))
    moved = sum((clipped[n] - still[n]).double().square().sum() for n in still if "running" not in n and "num" not in n)
    assert float(moved) ** 0.5 == pytest.approx(0.01, rel=1e-3)


def test_interrupt_saves_the_last_weights(tmp_path: Path, tiny: Tiny) -> None:
    def interrupt(count: int) -> None:
        if count == 7:
            os.kill(os.getpid(), signal.SIGINT)

    console = Console(file=io.StringIO())
    recipe = tiny("training.iterations=50", "training.batch=2", "training.validate_every=2")
    before = signal.getsignal(signal.SIGINT)
    result = run_in(tmp_path / "run", recipe, fixed_splits(Fixed(sample(), at=interrupt), Fixed(sample())), console)
    assert result.interrupted
    assert signal.getsignal(signal.SIGINT) is before, "the next Ctrl-C works, too"
    assert result.iterations == 4, "the step that it came in is made"
    assert f"interrupted after {result.iterations} of 50 iterations; last weights in" in said(console)
    load_model(tmp_path / "run" / "last")
    load_model(tmp_path / "run" / "model")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["interrupted"]


def test_loss_that_explodes_stops_the_run(tmp_path: Path, tiny: Tiny, scenes: Path, quiet: Console) -> None:
    recipe = tiny("training.iterations=20", "training.batch=2", "training.lr=1e20")
    message = r"(the loss became (nan|inf)|the gradient was not finite) at step \d+ on train\d, train\d; .* Lower"
    with pytest.raises(FeatalignError, match=message):
        run_in(tmp_path / "run", recipe, scenes, quiet)


def test_run_of_another_recipe_is_refused_unless_allowed(tmp_path: Path, tiny: Tiny, quiet: Console) -> None:
    recipe, data = tiny("training.iterations=1", "training.batch=2"), fixed_splits(Fixed(sample()))
    run_in(tmp_path, tiny("training.iterations=1", "training.batch=4"), data, quiet)
    with pytest.raises(ConfigError, match=r"a finished run of another recipe \(training.batch is 4 there, 2 here\)"):
        run_in(tmp_path, recipe, data, quiet)
    train(recipe, data=data, out=tmp_path, overwrite=True, device="cpu", console=quiet)
    assert len(rows(tmp_path, "train")) == 1


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["model.options.hiden=[64]"], ConfigError, r'no option "hiden": did you mean "hidden"\?'),
        (["model.name=fnp"], ConfigError, r'"fnp"'),
        (["training.offset_lr_multiplier=0.1"], ConfigError, "no layer of this model predicts offsets"),
        (["model.options={blend: bilinear}"], ConfigError, "training.query to mixed"),
        (
            ["model.name=semantic_fpn", "model.align=nearest", "model.options={point_head: true}"],
            ConfigError,
            "training.query to uncertain",
        ),
        (["data.train_split=trian"], DataError, r"no split \"trian\""),
        (["data.channels=4"], DataError, r"3 channels \(RGB\), expected 4"),
    ],
)
def test_nothing_is_written_when_the_run_cannot_start(
    tmp_path: Path, tiny: Tiny, scenes: Path, quiet: Console, overrides: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_in(tmp_path / "run", tiny(*overrides), scenes, quiet)
    assert not (tmp_path / "run").exists()


def test_bad_file_is_found_before_training(tmp_path: Path, tiny: Tiny, scenes: Path, quiet: Console) -> None:
    Image.fromarray(np.full((43, 52), 7, np.uint8)).save(scenes / "val" / "masks" / "val1.png")
    with pytest.raises(DataError, match=r"val1\.png"):
        run_in(tmp_path / "run", tiny("training.iterations=1"), scenes, quiet)
    assert not (tmp_path / "run").exists()


def test_lightning_says_nothing_and_leaves_nothing(
    tmp_path: Path, tiny: Tiny, quiet: Console, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    level = logging.getLogger("lightning_fabric").level
    run_in(tmp_path / "run", tiny("training.iterations=2", "training.batch=2"), fixed_splits(Fixed(sample())), quiet)
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert logging.getLogger("lightning_fabric").level == level
