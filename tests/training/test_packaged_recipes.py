"""Every packaged recipe is built in full; `make test-slow` also trains each for two iterations."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fabricate import fabricate
from object_data import write_objects

from featalign.data import list_layouts
from featalign.errors import ConfigError
from featalign.training import Recipe, list_recipes, load_recipe
from featalign.training.run import train
from featalign.training.tasks import task_of

PAPERS = [name for name in list_recipes() if name.split("/")[0] in ("ifa", "alignseg", "fapn")]
OTHERS = [name for name in list_recipes() if name not in PAPERS]
SMALL = [
    "model.pretrained=false",
    "data.crop=[64, 64]",
    "data.workers=0",
    "training.batch=2",
    "training.iterations=2",
    "training.warmup=0",
    "training.validate_every=2",
    "training.log_every=1",
]


FEW = {"min_size": 64, "max_size": 96, "detections": 5}  # of networks that find objects
SPLITS = ["data.train_split=train", "data.val_split=val", "data.test_split=val"]


def small(name: str) -> Recipe:
    recipe = load_recipe(name)
    overrides = [*SMALL, "training.steps=[1]"] if recipe.training.steps else [*SMALL]
    if recipe.task != "semantic":
        options = recipe.model.options | FEW
        overrides += [f"model.options={json.dumps(options)}", "training.lr=0.0001"]
        overrides += SPLITS if recipe.data.layout == "coco" else []
    return recipe.with_overrides(overrides)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Recipe], Path]:
    """A tiny folder in a recipe's layout, made once for each layout and its options."""

    def folder(recipe: Recipe) -> Path:
        layout = "folder" if recipe.data.layout == "auto" else recipe.data.layout
        if layout == "coco":
            root = tmp_path_factory.getbasetemp() / "coco"
            return root if root.exists() else write_objects(root, images=2)
        root = tmp_path_factory.getbasetemp() / "-".join([layout, *map(str, recipe.data.options.values())])
        return root if root.exists() else fabricate(layout, root, options=recipe.data.options)

    return folder


def rows() -> set[tuple[str, str, str]]:
    results = [result for name in PAPERS for result in load_recipe(name).published]
    return {(result.paper, result.table, result.row) for result in results}


ROWS = {
    "IFA": {"1": 7, "2": 8, "3": 12, "4": 6, "5": 4, "6": 2, "7": 2},
    "IFA supplement": {"1": 8, "2": 6, "3": 4},
    "AlignSeg": {"1": 4, "2": 3, "3": 3, "4": 6, "5": 5, "6": 4, "7": 2, "8": 2, "9": 1, "10": 2},
    "FaPN": {"1": 8, "2": 4, "3": 4, "4": 4, "5": 6, "6": 8, "7a": 2, "7b": 2, "8": 5},
}
"""Rows of the papers' own networks, and of the baselines that they ran, in the tables."""


@pytest.mark.parametrize(
    ("paper", "table", "count"),
    [(paper, table, count) for paper, tables in ROWS.items() for table, count in tables.items()],
)
def test_every_row_of_the_papers_has_a_recipe(paper: str, table: str, count: int) -> None:
    assert len([row for row in rows() if row[:2] == (paper, table)]) == count


@pytest.mark.parametrize("name", PAPERS)
def test_recipes_of_the_papers_say_what_they_aim_at(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.published and recipe.summary
    assert recipe.data.layout in [*list_layouts(), *(["coco"] if recipe.task != "semantic" else [])]


@pytest.mark.parametrize("name", list_recipes())
def test_the_network_and_the_data_can_be_built(name: str, data: Callable[[Recipe], Path]) -> None:
    recipe = small(name)
    task = task_of(recipe)
    splits = task.open_splits(data(recipe), recipe.data)
    with torch.device("meta"):
        model = task.build(recipe, splits, pretrained=False)
    assert len(splits.train) >= 2 and sum(parameter.numel() for parameter in model.parameters()) > 1e5


@pytest.mark.slow
@pytest.mark.parametrize("name", list_recipes())
def test_two_iterations(name: str, data: Callable[[Recipe], Path], tmp_path: Path) -> None:
    recipe = small(name)
    result = train(recipe, data=data(recipe), out=tmp_path / "run")
    assert result.iterations == 2
    assert result.best is not None
    if recipe.task == "semantic":
        assert not math.isnan(result.best["miou"])


@pytest.mark.parametrize("network", ["faster_rcnn", "mask_rcnn", "panoptic_fpn", "panoptic_fcn", "maskformer"])
def test_two_iterations_with_a_small_backbone(network: str, data: Callable[[Recipe], Path], tmp_path: Path) -> None:
    if network == "maskformer":
        pytest.importorskip("transformers", reason="needs featalign[maskformer]")
    name = next(name for name in PAPERS if load_recipe(name).model.name == network)
    recipe = small(name).with_overrides(["model.backbone=resnet10t", "model.width=64"])
    assert train(recipe, data=data(recipe), out=tmp_path / "run").iterations == 2


def test_two_iterations_of_one(data: Callable[[Recipe], Path], tmp_path: Path) -> None:
    recipe = small("fapn/cocostuff10k_realtime_resnet18")
    assert train(recipe, data=data(recipe), out=tmp_path / "run").iterations == 2


class TestBase:
    def write(self, folder: Path, **files: str) -> None:
        for name, text in files.items():
            (folder / f"{name}.yaml").write_text(text)

    def test_what_is_left_out_is_the_base_s(self, tmp_path: Path) -> None:
        base = tmp_path / "base.yaml"
        self.write(
            tmp_path,
            base="summary: one\nmodel: {options: {hidden: [64], dims: 12}}\ntraining: {lr: 0.5, batch: 3}\n"
            "published: [{paper: p, table: '1', row: r, metrics: {miou: 1}}]\n",
            middle=f"base: {base}\nmodel: {{options: {{dims: null, blend: bilinear}}}}\n",
            top=f"base: {tmp_path / 'middle.yaml'}\ntraining: {{batch: 4}}\n",
        )
        recipe = load_recipe(tmp_path / "top.yaml")
        assert recipe.model.options == {"hidden": [64], "blend": "bilinear"}
        assert (recipe.training.lr, recipe.training.batch) == (0.5, 4)
        assert recipe.summary == "" and recipe.published == ()

    def test_circles_and_strangers_are_told(self, tmp_path: Path) -> None:
        a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
        self.write(tmp_path, a=f"base: {b}\n", b=f"base: {a}\n", c="base: ifa/nothing\n", d="base: 3\n")
        with pytest.raises(ConfigError, match="goes round in a circle"):
            load_recipe(a)
        with pytest.raises(ConfigError, match="neither a packaged recipe nor a file"):
            load_recipe(tmp_path / "c.yaml")
        with pytest.raises(ConfigError, match="expected the name of a recipe, got 3"):
            load_recipe(tmp_path / "d.yaml")

    def test_options_that_are_none_are_told(self, tmp_path: Path) -> None:
        self.write(tmp_path, f="base: demo/fpn_fapn_ifa\nmodel: {options: null}\ndata: {options: [1]}\n")
        with pytest.raises(ConfigError, match=r"2 faults\n  model.options: .*\n  data.options: "):
            load_recipe(tmp_path / "f.yaml")

    def test_a_misspelt_section_of_a_base_is_told(self, tmp_path: Path) -> None:
        self.write(tmp_path, e="base: demo/fpn_fapn_ifa\ntrainin: {lr: 1}\n")
        with pytest.raises(ConfigError, match='did you mean "training"'):
            load_recipe(tmp_path / "e.yaml")
