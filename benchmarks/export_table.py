"""What exports to what: every network with every aligner, context and blend, to ONNX and OpenVINO.

    python benchmarks/export_table.py rows.jsonl                            # goes on where it stopped
    python benchmarks/export_table.py rows.jsonl fpn,align=ifa              # only these, in this order
    python benchmarks/export_table.py rows.jsonl --markdown docs/export.md  # what was not run is listed as such

Small networks (ResNet-10-t, width 16) with random weights: what is tried is whether each operator survives. Each file
is compared with PyTorch as `featalign export` does, at two sizes; one fixed size is tried where any size fails. The
table is put between the two marks in the page.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch

from featalign.errors import ExportError, FeatalignError
from featalign.export import export_model
from featalign.models import create_model, list_models, model_choices, model_options

MARKS = "<!-- table: begin -->", "<!-- table: end -->"
SMALL = {"width": 16, "hidden": (24, 16), "head_width": 32, "detail": 6, "keys": 8}
SIZE = (96, 128)
FILES = {"onnx": "a.onnx", "openvino": "a.xml"}
SECONDS = 400  # of the processor, for one file


def networks() -> Iterator[dict[str, str]]:
    """Every network with each of its aligners, contexts and ways to blend codes; what is usual is tried once."""
    for name in list_models():
        usual, choices = model_options(name), model_choices(name)
        first, *others = (part for part in ("align", "context", "blend") if part in choices)
        yield from ({"name": name, first: value} for value in choices[first])
        for part in others:
            yield from ({"name": name, part: value} for value in choices[part] if value != usual[part])


def label(options: dict[str, str]) -> str:
    return ",".join([options["name"], *(f"{key}={value}" for key, value in options.items() if key != "name")])


def tried(options: dict[str, Any], to: str) -> dict[str, str | None]:
    """Why the file could not be made at any size, and at one; None for what went well or was not needed."""
    dynamic = failure(options, to, None)
    return {"dynamic": dynamic, "fixed": failure(options, to, SIZE) if dynamic else None}


def failure(options: dict[str, Any], to: str, size: tuple[int, int] | None) -> str | None:
    """What `featalign export` says of one file that it refuses."""
    torch.manual_seed(0)
    known = model_options(options["name"])
    small = {key: value for key, value in SMALL.items() if key in known}
    model = create_model(**options, classes=4, backbone="resnet10t", **small)
    signal.signal(signal.SIGPROF, _too_long)
    with tempfile.TemporaryDirectory() as folder:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            export_model(model, Path(folder) / FILES[to], to=to, size=size)
        except FeatalignError as error:
            return str(error)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def _too_long(number: int, frame: FrameType | None) -> NoReturn:
    raise ExportError(f"not done after {SECONDS} s of the processor")


def run(store: Path, chosen: list[str]) -> None:
    """Try what ``store`` does not have yet; one JSON line for each network."""
    done = set(stored(store))
    every = {label(options): options for options in networks()}
    for name in chosen or every:
        if name in done:
            continue
        results = {to: tried(every[name], to) for to in FILES}
        with store.open("a") as file:
            file.write(json.dumps({"network": name, **results}) + "\n")
        print(name, results, flush=True)


def stored(store: Path) -> dict[str, dict[str, Any]]:
    """Rows by network."""
    lines = store.read_text().splitlines() if store.exists() else []
    return {row["network"]: row for row in map(json.loads, lines)}


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """A line for every network there is, with the reasons below them."""
    reasons: list[str] = []

    def cell(row: dict[str, Any] | None, to: str) -> str:
        if row is None:
            return "not run"
        result = row[to]
        if result["dynamic"] is None:
            return "any size"
        why = result["fixed"] or result["dynamic"]
        if why not in reasons:
            reasons.append(why)
        return f"{'no' if result['fixed'] else 'one size'} ({reasons.index(why) + 1})"

    names = [label(options) for options in networks()]
    lines = [["network", "ONNX", "OpenVINO"], ["---"] * 3]
    lines += [[f"`{name}`", *(cell(rows.get(name), to) for to in FILES)] for name in names]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([table, *(f"\n{i}. {reason}" for i, reason in enumerate(reasons, 1))])


def main(store: Path, arguments: list[str]) -> None:
    if arguments[:1] != ["--markdown"]:
        return run(store, arguments)
    page = Path(arguments[1])
    before, rest = page.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    page.write_text(f"{before}{MARKS[0]}\n{markdown(stored(store))}\n{MARKS[1]}{after}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
