from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from featalign.cli.app import app
from featalign.cli.options import parse_bytes, parse_settings
from featalign.cli.protocol import Protocol, protocol, reading
from featalign.errors import ConfigError
from featalign.training import Recipe

run_cli = CliRunner().invoke


def run_with(folder: Path, *changes: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(Recipe().with_overrides(changes).to_yaml())
    return folder


def test_a_run_is_tested_as_its_recipe_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(tmp_path / "run", "test.scales=[0.5, 1]", "test.flip=true", "test.split=val", "test.boundary=[4]")
    found = protocol(run, split=None, flip=None, layout_options=[])
    assert (found.split, found.scales, found.flip, found.boundary) == ("val", "0.5,1", True, "4")
    assert "split val, scales 0.5,1, flip True, boundary 4" in capsys.readouterr().err
    protocol(run_with(run, "data.options={colors: true}"))
    assert "layout options colors=True\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "value", ["{split}/img/{name}.jpg", "{split}", "plain", "01", "a: b", "", "true", 1, True, 0.5, None, [1, "a"], {}]
)
def test_layout_options_come_through_as_they_are(tmp_path: Path, value: object) -> None:
    content = Recipe().model_dump(mode="json")
    content["data"]["options"] = {"images": value}
    (tmp_path / "recipe.yaml").write_text(Recipe.from_content(content).to_yaml())
    texts = list(protocol(tmp_path).layout_options)
    assert parse_settings(texts) == {"images": value}


@pytest.mark.parametrize(("text", "value"), [("1e-3", 0.001), ("2E6", 2e6), ("2001-13-01", "2001-13-01"), ("[1", "[1")])
def test_settings_are_read_as_recipes_are(text: str, value: object) -> None:
    assert parse_settings([f"a={text}"]) == {"a": value}


def test_a_little_memory_is_no_memory() -> None:
    assert parse_bytes("1.5k") == 1536
    with pytest.raises(ConfigError, match="an amount of memory"):
        parse_bytes("0.5")


def test_names_in_braces_can_be_typed() -> None:
    assert parse_settings(["masks={split}/{name}.png"]) == {"masks": "{split}/{name}.png"}


def test_options_win(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(tmp_path / "run", "test.flip=true", "test.window=[64, 96]", "data.layout=voc")
    found = protocol(run, flip=False, window="32x32", layout="folder", split="test")
    assert (found.flip, found.window, found.layout, found.layout_options) == (False, "32x32", "folder", ())
    assert capsys.readouterr().err == ""


def test_a_model_folder_has_the_defaults(tmp_path: Path) -> None:
    assert protocol(tmp_path, split=None) == Protocol()


def test_two_runs_are_compared_on_the_data_of_the_first_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ("data.layout=folder", "data.options={shift: -1}", "test.split=val", "test.flip=true")
    runs = (tmp_path, run_with(tmp_path / "a", *changes), run_with(tmp_path / "b", "data.layout=voc"))
    assert reading(*runs) == Protocol(split="val", layout="folder", layout_options=("shift=-1",))
    assert "as the run's recipe says: split val, layout folder, layout options shift=-1\n" in capsys.readouterr().err
    assert reading(*runs, split="test", layout="auto", layout_options=[]) == Protocol()
    assert reading(tmp_path / "scores.json", tmp_path) == Protocol()


def test_a_recipe_of_another_time_is_no_obstacle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text("loss: {ohem: true}\n")
    assert protocol(tmp_path) == Protocol()
    assert "tested by the defaults" in capsys.readouterr().err


def test_scores_of_an_unfinished_run_are_called_that(tmp_path: Path) -> None:
    (run_with(tmp_path / "run") / "model").mkdir()
    notes = []
    for numbers in (None, '{"interrupted": true}', '{"interrupted": false}'):
        if numbers is not None:
            (tmp_path / "run" / "metrics.json").write_text(numbers)
        for command in (["eval", "RUN"], ["compare", "RUN", "RUN", "--out", "compared"]):
            arguments = [str(tmp_path / "run") if one == "RUN" else one for one in command]
            notes.append("is not finished" in run_cli(app, [*arguments, "--data", str(tmp_path)]).stderr)
    assert notes == [True] * 4 + [False] * 2


def test_list_shows_aims_and_runs(tmp_path: Path) -> None:
    page = tmp_path / "recipes.md"
    result = run_cli(app, ["recipes", "--markdown", str(page)])
    assert result.exit_code == 0
    line = next(line for line in result.output.splitlines() if line.startswith("ifa/cityscapes_fpn_ifa_resnet50 "))
    assert line.split()[1:4] == ["78.0", "not", "run"]
    assert "IFA Table 1, IFA: miou 78.02" in page.read_text()


def test_the_page_is_up_to_date(tmp_path: Path) -> None:
    page = tmp_path / "recipes.md"
    run_cli(app, ["recipes", "--markdown", str(page)])
    assert (Path(__file__).parents[2] / "docs" / "recipes.md").read_text() == page.read_text()
