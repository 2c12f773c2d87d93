"""Imports point downwards only."""

from __future__ import annotations

import ast
from pathlib import Path

import featalign

ROOT = Path(featalign.__file__).parent
FLOORS = [
    {"errors", "spec", "files", "doctor"},
    {"ops", "layers"},
    {"align", "context", "backbones", "losses", "metrics", "data", "figures"},
    {"models"},
    {"inference"},
    {"training", "export", "reports"},
    {"demo", "serve"},
    {"cli"},
    {"__main__", "__init__"},
]
# Rooms of one floor do not know each other, but for these.
NEIGHBOURS = {("context", "align"), ("layers", "ops"), ("files", "errors"), ("spec", "errors")}


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(i for i, names in enumerate(FLOORS) if name in names)


def test_every_room_has_a_floor():
    for path in ROOT.rglob("*.py"):
        floor(room(path))


def test_imports_point_downwards():
    wrong = []
    for path in ROOT.rglob("*.py"):
        here = room(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("featalign."):
                there = (node.module or "").split(".")[1]
                same_floor = floor(there) == floor(here) and (here, there) not in NEIGHBOURS
                if there != here and (floor(there) > floor(here) or same_floor):
                    wrong.append(f"{path.relative_to(ROOT)} imports {node.module}")
    assert not wrong, "\n".join(wrong)
