"""Imports point downwards only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import featalign

ROOT = Path(featalign.__file__).parent
FLOORS = [
    {"errors", "spec", "files", "memory", "doctor", "version"},
    {"ops", "layers"},
    {"align", "context", "backbones", "losses", "metrics", "data", "figures"},
    {"models"},
    {"inference"},
    {"training", "export", "reports"},
    {"demo", "serve"},
    {"cli"},
    {"__main__", "__init__"},
]
ROOMS = set().union(*FLOORS)
# Rooms of one floor do not know each other, but for these.
NEIGHBOURS = {("context", "align"), ("layers", "ops"), ("files", "errors"), ("spec", "errors")}


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def dotted(path: Path) -> str:
    return ".".join(("featalign", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def floor(name: str) -> int:
    return next(i for i, names in enumerate(FLOORS) if name in names)


def imported(path: Path) -> Iterator[str]:
    """The modules of this library that a file imports, in whatever form; names of the top alone are none."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module == "featalign":
            names = [f"featalign.{name.name}" for name in node.names if name.name in ROOMS]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            package = ROOT.parent.joinpath(*(node.module or "").split("."))
            files = {name.name for name in node.names if (package / f"{name.name}.py").is_file()}
            names = [f"{node.module}.{file}" for file in files] if files else [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        yield from (name for name in names if name.startswith("featalign."))


def test_every_room_has_a_floor():
    for path in ROOT.rglob("*.py"):
        floor(room(path))


def test_imports_point_downwards():
    wrong = []
    for path in ROOT.rglob("*.py"):
        here = room(path)
        for module in imported(path):
            there = module.split(".")[1]
            same_floor = floor(there) == floor(here) and (here, there) not in NEIGHBOURS
            if there != here and (floor(there) > floor(here) or same_floor):
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_no_files_import_each_other_in_a_circle():
    files = {dotted(path): path for path in ROOT.rglob("*.py")}
    TopologicalSorter({here: set(imported(path)) for here, path in files.items()}).prepare()  # CycleError says which
