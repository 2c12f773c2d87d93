from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from featalign.errors import ConfigError
from featalign.models.detector_factory import DetectionName, PanopticName
from featalign.training import Recipe, list_recipes, load_recipe
from featalign.training.recipe_text import _ELSEWHERE
from featalign.training.recipe_types import DETECTION, PANOPTIC

PACKAGE = Path(__file__).parents[2] / "src" / "featalign" / "recipes"


def sections(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The fields of a model that are models themselves."""
    found = {name: field.annotation for name, field in model.model_fields.items()}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}


def field_names(model: type[BaseModel]) -> dict[str, Any]:
    """Nested names of every field of a model, as a YAML file would hold them."""
    inner = {name: field_names(kind) for name, kind in sections(model).items()}
    return {name: inner.get(name) for name in model.model_fields}


def test_every_field_is_described() -> None:
    models = [Recipe, *sections(Recipe).values()]
    fields = [(model.__name__, name, field) for model in models for name, field in model.model_fields.items()]
    assert [(model, name) for model, name, field in fields if not field.description] == []
    assert len(fields) > 30


def test_list_has_every_packaged_file() -> None:
    on_disk = sorted(path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.yaml"))
    assert list_recipes() == on_disk
    assert {"camvid/fpn_ifa_resnet18", "ifa/cityscapes_fpn_ifa_resnet50", "demo/fpn_fapn_ifa"} <= set(on_disk)


@pytest.mark.parametrize("name", list_recipes())
def test_packaged_recipe_spells_out_every_field(name: str) -> None:
    content = yaml.safe_load((PACKAGE / f"{name}.yaml").read_text())
    if "base" in content:
        return
    spelt = {key: dict.fromkeys(value) if isinstance(value, dict) else None for key, value in content.items()}
    assert spelt == field_names(Recipe)
    assert load_recipe(name).summary


@pytest.mark.parametrize(
    ("name", "bilinear", "of_alignment"),
    [
        ("camvid/fpn_ifa_resnet18", "camvid/fpn_bilinear_resnet18", set()),
        ("demo/fpn_fapn_ifa", "demo/fpn_bilinear", {"pathway", "blend", "octaves"}),
    ],
)
def test_siblings_differ_in_alignment_only(name: str, bilinear: str, of_alignment: set[str]) -> None:
    ours, sibling = load_recipe(name).model_dump(), load_recipe(bilinear).model_dump()
    assert (ours["model"].pop("align"), sibling["model"].pop("align")) == ("ifa", "bilinear")
    assert set(ours["model"]["options"]) - set(sibling["model"]["options"]) == of_alignment
    for option in of_alignment:
        del ours["model"]["options"][option]
    assert ours.pop("summary") != sibling.pop("summary")
    del ours["measured"], sibling["measured"]
    assert ours == sibling


def test_published_settings() -> None:
    """IFA section 4.2: SGD 0.01 / 0.9 / 0.0005, poly 0.9, crop 769, batch 16, 18k iterations, OHEM."""
    recipe = load_recipe("ifa/cityscapes_fpn_ifa_resnet50")
    training, data = recipe.training, recipe.data
    assert (training.lr, training.momentum, training.weight_decay, training.power) == (0.01, 0.9, 0.0005, 0.9)
    assert (training.batch, training.iterations, data.crop) == (16, 18_000, (769, 769))
    assert round(recipe.loss.keep * 2 * 769 * 769, -3) == 100_000
    assert recipe.loss.main == "ohem" and recipe.model.pretrained


def test_text_and_back(tmp_path: Path) -> None:
    recipe = load_recipe("camvid/fpn_ifa_resnet18").with_overrides(["training.ema=0.99", "model.options.pos_dim=36"])
    (tmp_path / "mine.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "mine.yaml") == recipe
    assert load_recipe(str(tmp_path / "mine.yaml")) == recipe


def test_partial_file_takes_defaults(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("training: {lr: 1e-3}\ndata: {crop: 64}\n")
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert recipe.training.lr == 0.001
    assert recipe.data.crop == (64, 64)
    assert recipe.training.iterations == 18_000


def test_overrides_are_yaml_typed() -> None:
    overrides = ["training.iterations=200", "training.lr=5e-4", "training.ema=0.999", "training.gradient_clip=null"]
    overrides += ["data.crop=[64, 96]", "data.scales=[1, 2]", "loss.main=cross_entropy"]
    overrides += ["model.align=ifa", "model.options.position=sine"]
    recipe = Recipe().with_overrides(overrides)
    assert (recipe.training.iterations, recipe.training.lr, recipe.data.crop) == (200, 5e-4, (64, 96))
    assert (recipe.loss.main, recipe.training.ema, recipe.training.gradient_clip) == ("cross_entropy", 0.999, None)
    assert (recipe.model.align, recipe.model.options, recipe.data.scales) == ("ifa", {"position": "sine"}, (1.0, 2.0))
    assert Recipe().with_overrides([]) == Recipe()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.iteration=200", r'training\.iteration: unknown field, did you mean "iterations"\?'),
        ("trainig.iterations=200", r'trainig: unknown field, did you mean "training"\?'),
        ("iterations=200", r'iterations: unknown field, did you mean "training\.iterations"\?'),
        ("data.flp=1", r'data\.flp: unknown field, did you mean "flip"\?'),
        ("training.flip=1", r'flip: unknown field, did you mean "data\.flip" or "test\.flip"\?'),
        ("training.batch_size=8", r'batch_size: unknown field, did you mean "batch"\?'),
        ("learning_rate=0.1", r'learning_rate: unknown field, did you mean "training\.lr"\?'),
        ("data.zzz=1", r"data\.zzz: unknown field, expected one of: cache, channels, "),
        ("training.iterations=many", r'training\.iterations: should be a valid integer, got "many"'),
        ("training.iterations=2.5", r"training\.iterations: should be a valid integer, got 2\.5"),
        ("training.batch=true", r"training\.batch: should be a valid integer, got true"),
        ("training.batch=0", r"training\.batch: should be greater than or equal to 1, got 0"),
        ("training.lr=.nan", r"training\.lr: should be a finite number"),
        ("training.query=all", r"training\.query: should be 'grid', 'points', .*, got \"all\""),
        ("data.scales=[2, 1]", r"data\.scales: expected 0 < low <= high, got \[2\.0, 1\.0\]"),
        ("data.crop=8", r"data\.crop\.0: should be greater than or equal to 32, got 8"),
        ("data.crop=[64, 64, 64]", r"data\.crop: .*at most 2"),
        ("loss=3", r"loss: should be an object, got 3"),
        ("training.lr.x=3", r'"lr" is a value'),
        (
            "model.pretrained=3",
            r"model\.pretrained: expected true, false, or the path of a file of timm weights, got 3",
        ),
        ("loss.class_weights=[1, -2]", r"class_weights: expected none, balanced, or a list .*, got \[1, -2\]"),
        ("loss.class_weights=balance", r'class_weights: expected none, balanced, or a list .*, got "balance"'),
        ("training.query_stride=3", r"training\.query_stride: should be 1, 2 or 4, got 3"),
        ("training.steps=[9, 3]", r"training\.steps: expected rising numbers, got \[9, 3\]"),
        ("training.schedule=step", r"training: schedule step with steps \[\]: the step schedule needs steps"),
        ("training.steps=[3, 9]", r"training: schedule poly with steps \[3, 9\]"),
        ("training.lr_end=1", r"training: lr_end 1 is above the rate 0\.01"),
        ("training.boundary_share=0.5", r"boundary_share 0\.5 moves random points, and query grid asks no such"),
        ("training.freeze=backbone", r"training\.freeze: the backbone starts from random weights"),
        (
            "data.channels=4 data.jitter=0.5",
            r"data: jitter 0\.5 changes colours, which images of 4 channels do not have",
        ),
        ("loss.main=balanced loss.class_weights=balanced", r"loss: main balanced weighs classes by each batch"),
        ("test.overlap=1", r"test\.overlap: should be less than 1, got 1"),
        ("test.scales=[]", r"test\.scales: .*at least 1 item"),
        ("training.iterations", r"expected key=value such as training\.iterations=200"),
        ("training..lr=3", r"expected key=value"),
        ("=3", r"expected key=value"),
        ("training.lr=[", r"--set training\.lr=\[: is not YAML"),
    ],
)
def test_wrong_override_is_one_clear_error(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Recipe().with_overrides(re.split(r" (?=\w+\.\w)", override))
    assert all(line.startswith(("--set", "  data.crop")) for line in str(caught.value).splitlines())


def test_fields_of_several_kinds() -> None:
    overrides = ["loss.class_weights=[1, 0.5, 2]", "model.pretrained=weights.safetensors", "test.window=512"]
    overrides += ["training.schedule=step", "training.steps=[40000, 55000]", "training.freeze=backbone"]
    recipe = Recipe().with_overrides(overrides)
    assert recipe.loss.class_weights == (1, 0.5, 2)
    assert recipe.model.pretrained == "weights.safetensors"
    assert (recipe.test.window, recipe.training.steps) == ((512, 512), (40_000, 55_000))
    assert Recipe.from_content(recipe.model_dump(mode="json")) == recipe
    assert Recipe().with_overrides(["loss.class_weights=balanced"]).loss.class_weights == "balanced"


def test_all_faults_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Recipe.from_content({"training": {"lr": -1, "bach": 8}, "datas": {}}, source="mine.yaml")
    first, *faults = str(caught.value).splitlines()
    assert first == "mine.yaml: 3 faults"
    assert sorted(fault.split(":")[0].strip() for fault in faults) == ["datas", "training.bach", "training.lr"]


@pytest.mark.parametrize("text", ["", "3", "- a\n- b", '"camvid"'])
def test_file_without_sections(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(
        ConfigError,
        match=r"mine\.yaml: expected sections summary, model, data, training, loss, test, published, measured",
    ):
        load_recipe(tmp_path / "mine.yaml")


def test_file_that_is_not_yaml_or_not_text(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("training: {lr: 1")
    with pytest.raises(ConfigError, match=r"mine\.yaml: is not YAML.*line 1"):
        load_recipe(tmp_path / "mine.yaml")
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match=r"mine\.yaml\": cannot be read"):
        load_recipe(tmp_path / "mine.yaml")


def test_unknown_name_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'did you mean "camvid/fpn_ifa_resnet18"\?'):
        load_recipe("camvid/fpn_ifa_resnet81")
    with pytest.raises(ConfigError, match=r"neither a packaged recipe nor a file"):
        load_recipe(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(tmp_path)


def test_names_of_networks_that_find_objects() -> None:
    """Recipes name them apart, to be read without torch."""
    assert get_args(DetectionName) == DETECTION and get_args(PanopticName) == PANOPTIC


def test_what_other_libraries_call_a_field_leads_to_one_of_ours() -> None:
    sections = [field.annotation for field in Recipe.model_fields.values()]
    ours = {name for section in sections if isinstance(section, type) for name in getattr(section, "model_fields", ())}
    assert set(_ELSEWHERE.values()) <= ours
    assert not set(_ELSEWHERE) & ours
