"""What the documents show must run: the Python of the pages, the commands' names, the recipes' names."""

from __future__ import annotations

import pkgutil
import re
import runpy
from pathlib import Path

import pytest
from fabricate import fabricate
from PIL import Image

from featalign.models import factory
from featalign.training import list_recipes, load_recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def test_the_fuse_of_the_documentation_builds():
    (example,) = [block for block in blocks(ROOT / "docs" / "models.md", "python") if "class Gated" in block]
    names: dict[str, object] = {}
    exec(compile(example, "docs/models.md", "exec"), names)
    assert sum(type(module).__name__ == "Gated" for module in names["model"].modules()) == 3


def test_the_pyramids_and_detectors_of_the_documentation_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 48)).save("photo.png")
    names: dict[str, object] = {}
    first, *others = blocks(ROOT / "docs" / "pyramid.md", "python")
    exec(compile(first, "docs/pyramid.md", "exec"), names)
    assert names["model"].backbone is names["backbone"]
    for example in others:
        exec(compile(example, "docs/pyramid.md", "exec"), names)
    assert list(names["detector"].backbone.strides) == [8, 16, 32, 64, 128]
    assert Image.open("found.png").size == (64, 48)


def test_networks_fuses_and_loops_of_ones_own_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(factory, "_BUILDERS", dict(factory._BUILDERS))
    fabricate("folder", tmp_path / "DATA")
    names: dict[str, object] = {}
    for example in blocks(ROOT / "docs" / "extending.md", "python"):
        exec(compile(example, "docs/extending.md", "exec"), names)
    assert (tmp_path / "runs/sum/model/config.json").is_file()
    assert (tmp_path / "my-model/model.safetensors").is_file()


def test_the_fields_of_a_recipe_are_up_to_date():
    script = runpy.run_path(str(ROOT / "docs" / "recipe_fields.py"))
    assert script["PAGE"].read_text(encoding="utf-8") == script["page"]()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_recipes_exist(page, tmp_path):
    from featalign.cli.app import app

    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    for line in re.findall(r"^(?:\s*)featalign (.+)$", "\n".join(blocks(page, "bash")), re.M):
        name, *rest = line.split()
        assert name in commands, f"{page.name}: featalign {name}"
        if name == "train" and rest[0].endswith(".yaml"):  # one of the page's own
            (text,) = [block for block in blocks(page, "yaml") if block.startswith(f"# {rest[0]}\n")]
            (tmp_path / rest[0]).write_text(text, encoding="utf-8")
            assert load_recipe(tmp_path / rest[0])
        elif name == "train":
            assert rest[0] in list_recipes(), f"{page.name}: {rest[0]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_project_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_formulas_need_no_network(page):
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
    assert "$" not in text, "Sphinx loads what draws formulas from elsewhere"


def test_the_first_page_leads_to_a_first_result():
    (commands,) = blocks(ROOT / "docs" / "index.md", "bash")
    assert [line.split()[1] for line in commands.splitlines()] == ["install", "demo", "train", "eval", "predict"]


def test_references_of_the_code_lead_somewhere():
    files = {path: path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")}
    pattern = re.compile(r":(?:func|class|mod|meth|attr):`~?(featalign[\w.]*)`")
    lost = [f"{path.name}: {name}" for path, text in files.items() for name in pattern.findall(text) if not leads(name)]
    assert not lost, lost


def leads(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True
