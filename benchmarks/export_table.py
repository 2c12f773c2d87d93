"""What exports to what: every network with every aligner, to ONNX and OpenVINO, at any size and at one.

    python benchmarks/export_table.py rows.jsonl                      # minutes per network; goes on where it stopped
    python benchmarks/export_table.py rows.jsonl fpn,align=ifa        # only these
    python benchmarks/export_table.py rows.jsonl --markdown docs/export.md

Small networks (ResNet-18, width 16) with random weights: what is tried is whether each operator survives. Each file is
compared with PyTorch as `featalign export` does. The table is put between the two marks in the page.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from featalign.errors import FeatalignError
from featalign.export import export_model
from featalign.models import create_model, list_models, model_choices, model_options

MARKS = "<!-- table: begin -->", "<!-- table: end -->"
SMALL = {"width": 16, "hidden": (24, 16), "head_width": 64, "detail": 6, "keys": 8}
SIZE = (96, 128)
FILES = {"onnx": "a.onnx", "openvino": "a.xml"}
COLUMNS = [(to, size) for to in FILES for size in (None, SIZE)]


def networks() -> Iterator[dict[str, str]]:
    """Every network with each of its aligners, and with each of its contexts."""
    for name in list_models():
        for part in ("align", "context"):
            for value in model_choices(name).get(part, ()):
                yield {"name": name, part: value}


def label(options: dict[str, str]) -> str:
    return ",".join([options["name"], *(f"{key}={value}" for key, value in options.items() if key != "name")])


def tried(options: dict[str, Any], to: str, size: tuple[int, int] | None) -> str:
    """``yes``, or why not."""
    torch.manual_seed(0)
    known = model_options(options["name"])
    small = {key: value for key, value in SMALL.items() if key in known}
    model = create_model(**options, classes=4, backbone="resnet18", **small)
    with tempfile.TemporaryDirectory() as folder:
        try:
            export_model(model, Path(folder) / FILES[to], to=to, size=size)
        except FeatalignError as error:
            return str(error)
    return "yes"


def run(store: Path, chosen: list[str]) -> None:
    """Try what ``store`` does not have yet; one JSON line for each network."""
    done = {json.loads(line)["network"] for line in store.read_text().splitlines()} if store.exists() else set()
    for options in networks():
        name = label(options)
        if name in done or (chosen and name not in chosen):
            continue
        results = [tried(options, to, size) for to, size in COLUMNS]
        with store.open("a") as file:
            file.write(json.dumps({"network": name, "results": results}) + "\n")
        print(name, results, flush=True)


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows, with the reasons below them."""
    reasons: list[str] = []

    def cell(result: str) -> str:
        if result == "yes":
            return "yes"
        if result not in reasons:
            reasons.append(result)
        return f"no ({reasons.index(result) + 1})"

    head = ["network", *(f"{to}, {'any size' if size is None else 'one size'}" for to, size in COLUMNS)]
    lines = [head, ["---"] * len(head), *([f"`{r['network']}`", *map(cell, r["results"])] for r in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([table, "", *(f"{i}. {reason}" for i, reason in enumerate(reasons, 1))])


def main(store: Path, arguments: list[str]) -> None:
    if arguments[:1] != ["--markdown"]:
        return run(store, arguments)
    rows = sorted((json.loads(line) for line in store.read_text().splitlines()), key=lambda row: row["network"])
    page = Path(arguments[1])
    before, rest = page.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    page.write_text(f"{before}{MARKS[0]}\n{markdown(rows)}\n{MARKS[1]}{after}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
