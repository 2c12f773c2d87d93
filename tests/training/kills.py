"""What the tests of killed runs share: running plans, and comparing what runs left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from featalign.training import Recipe

PASSING = {"images_per_second", "seconds_left", "peak_rss_mb", "peak_gpu_mb", "seconds_per_iteration"}
"""What depends on the clock and the machine."""


def run_plans(folder: Path, plans: list[dict[str, Any]], *, timeout: float = 300) -> tuple[list[list[Any]], str]:
    """The results of the plans, and everything that was said on standard error."""
    path = folder / "plan.json"
    path.write_text(json.dumps(plans))
    harness = Path(__file__).with_name("harness.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    done = subprocess.run(
        [sys.executable, str(harness), str(path)], capture_output=True, text=True, timeout=timeout, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(path.with_suffix(".out.json").read_text()), done.stderr


def plan(folder: Path, recipe: Recipe, data: Path, out: str, *attempts: Any, processes: int = 1) -> dict[str, Any]:
    """A plan for :func:`run_plans`; its run folder is ``folder / out``."""
    path = folder / f"{out}.yaml"
    path.write_text(recipe.to_yaml())
    paths = {"recipe": str(path), "data": str(data), "out": str(folder / out)}
    return {**paths, "processes": processes, "attempts": list(attempts)}


def left(run: Path) -> dict[str, Any]:
    """All that a run left, but for times and memory; weights as the bytes of their files."""
    found: dict[str, Any] = {str(path.relative_to(run)): None for path in run.rglob("*")}
    found |= {name: (run / name).read_bytes() for name in found if name.endswith((".safetensors", "config.json"))}
    found["log.jsonl"] = [_lasting(json.loads(line)) for line in (run / "log.jsonl").read_text().splitlines()]
    found["metrics.json"] = _lasting(json.loads((run / "metrics.json").read_text()))
    return found


def _lasting(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in PASSING}
