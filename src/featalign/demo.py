"""The demonstration: learn drawn scenes, then ask for more pixels than the images ever had.

Scenes are drawn by formulas, so there is exact truth at every resolution. Two networks that differ only in how levels
are aligned, by FaPN's feature selection (FSM) and IFA or by bilinear resampling alone, are trained alike at 96x96 and
judged at 96x96 and, from the same images, at 384x384.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from featalign.data import bar_on, train_transform
from featalign.data.scenes import SCENE_CLASSES, SceneDataset
from featalign.errors import ConfigError
from featalign.figures import comparison
from featalign.files import atomic_path, write_atomically
from featalign.inference import Evaluation, Predictor, evaluate
from featalign.models import load_model
from featalign.training import Recipe, load_recipe
from featalign.training.run import train
from featalign.training.run_folder import RunFolder
from featalign.training.splits import Splits

MODELS = {"bilinear": "demo/fpn_bilinear", "FSM + IFA": "demo/fpn_fapn_ifa"}
FINER = 4
COUNTS = {"train": 400, "val": 40, "test": 80}
CANDIDATES = 20  # test scenes that the figure is chosen from
BOUNDARY = 2  # half width of the boundary band, in pixels of the training size


@dataclass(frozen=True)
class DemoResult:
    """Scores per model and output size, and where the figure is."""

    scores: dict[str, dict[int, Evaluation]]
    figure: Path


def run_demo(
    out: Path, *, overrides: Sequence[str] = (), counts: dict[str, int] = COUNTS, console: Console | None = None
) -> DemoResult:
    """Train both models, score them at both sizes, print the table and draw the figure.

    Args:
        out: gets ``runs/``, ``results.json`` and ``figure.png``; an earlier demonstration there is replaced.
        overrides: recipe fields to change, as ``KEY=VALUE``, for both models.
        counts: scenes per split.
        console: where progress and the table are shown; stderr by default.

    Raises:
        ConfigError: for an override that no recipe has, or an ``out`` with files that are of no demonstration.
        FeatalignError: if ``out`` cannot be written.
    """
    console = console or Console(stderr=True)
    recipes = {name: load_recipe(recipe).with_overrides(overrides) for name, recipe in MODELS.items()}
    folders = {name: RunFolder(out / "runs" / Path(recipe).name) for name, recipe in MODELS.items()}
    figure, results = out / "figure.png", out / "results.json"
    strange = [folders[name].root for name, recipe in recipes.items() if not _may_replace(folders[name], recipe)]
    if not any(folder.earlier() for folder in folders.values()):
        strange += [file for file in (figure, results) if file.exists()]
    if strange:
        raise ConfigError(f"{strange[0]}: is of no demonstration and would be replaced; choose another --out")
    common = next(iter(recipes.values()))
    size = common.data.crop
    splits = _draw_splits(common, counts, console)
    predictors = {}
    for name, recipe in recipes.items():
        console.print(f"training {name}: {recipe.training.iterations} iterations at {size[0]}x{size[1]}", style="bold")
        run = train(recipe, data=splits, out=folders[name].root, overwrite=True, console=console)
        if run.interrupted:
            raise KeyboardInterrupt
        predictors[name] = Predictor(load_model(run.folder), device="cpu")
    tests = {finer: _test_scenes(size, finer, counts["test"]) for finer in (1, FINER)}
    scores = {name: _score(predictor, tests, console) for name, predictor in predictors.items()}
    console.print(_table(scores, size))
    _draw_figure(predictors, tests[1], figure)
    write_atomically(results, json.dumps(_as_json(scores, size), indent=1) + "\n")
    console.print(f"figure: {figure}", soft_wrap=True)
    return DemoResult(scores, figure)


def _may_replace(folder: RunFolder, recipe: Recipe) -> bool:
    """Whether a folder holds no run, or one of this recipe, with whatever overrides."""
    if not folder.earlier():
        return True
    return folder.recipe.is_file() and load_recipe(folder.recipe).summary == recipe.summary


def _draw_splits(recipe: Recipe, counts: dict[str, int], console: Console) -> Splits:
    """The same scenes for every model, drawn once."""
    data = recipe.data
    transform = train_transform(crop=data.crop, scales=data.scales, flip=data.flip, jitter=data.jitter)
    learn = SceneDataset(counts["train"], data.crop, seed=0)
    choose = SceneDataset(counts["val"], data.crop, seed=1)
    for scenes in (learn, choose):
        for index in bar_on(console)(range(len(scenes)), total=len(scenes), description="drawing scenes"):
            scenes[index]
    learn.transform = transform
    return Splits(learn, choose, SCENE_CLASSES)


def _test_scenes(size: tuple[int, int], finer: int, count: int) -> SceneDataset:
    """Images at the training size, truth at ``finer`` times that."""
    return SceneDataset(count, size, seed=2, mask_size=(size[0] * finer, size[1] * finer))


def _score(predictor: Predictor, tests: dict[int, SceneDataset], console: Console) -> dict[int, Evaluation]:
    return {
        finer: evaluate(predictor, scenes, boundary_widths=(BOUNDARY * finer,), progress=bar_on(console))
        for finer, scenes in tests.items()
    }


def _table(scores: dict[str, dict[int, Evaluation]], size: tuple[int, int]) -> Table:
    table = Table(title=f"{next(iter(scores.values()))[1].images} test scenes, images of {size[0]}x{size[1]}")
    table.add_column("aligned by")
    for finer in (1, FINER):
        output = f"{size[0] * finer}x{size[1] * finer}"
        table.add_column(f"mIoU at {output}", justify="right")
        table.add_column(f"boundary mIoU at {output}", justify="right")
    for name, by_size in scores.items():
        cells = []
        for finer, found in by_size.items():
            cells += [found.scores.miou, found.boundary[BOUNDARY * finer].miou]
        table.add_row(name, *(f"{100 * value:.2f}" for value in cells))
    return table


def _draw_figure(predictors: dict[str, Predictor], scenes: SceneDataset, path: Path) -> None:
    """The test scene on which the two models differ most, at the finer size."""
    height, width = (side * FINER for side in scenes.size)
    small = [
        np.ascontiguousarray(scenes[i]["image"].permute(1, 2, 0).numpy()) for i in range(min(len(scenes), CANDIDATES))
    ]
    answers = [{name: p(image, size=(height, width)).labels for name, p in predictors.items()} for image in small]
    chosen = max(range(len(small)), key=lambda i: np.mean(np.not_equal(*answers[i].values())))
    scene = scenes.scene(chosen)
    figure = comparison(
        image=np.kron(small[chosen], np.ones((FINER, FINER, 1), dtype=np.uint8)),
        truth=scene.labels((height, width)),
        predictions=answers[chosen],
        classes=SCENE_CLASSES,
    )
    with atomic_path(path) as temporary:
        figure.save(temporary, format="PNG")


def _as_json(scores: dict[str, dict[int, Evaluation]], size: tuple[int, int]) -> dict[str, Any]:
    return {
        name: {f"{size[0] * finer}x{size[1] * finer}": found.to_json() for finer, found in by_size.items()}
        for name, by_size in scores.items()
    }
