"""`eval --out`: the scores as metrics.json and as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from featalign.cli.console import out, parse_size, progress, save_json
from featalign.cli.scoring import Scored
from featalign.doctor import versions
from featalign.errors import ConfigError
from featalign.files import write_atomically
from featalign.reports import Ranked, Rerun, evaluation_report, examples

METRICS, PAGE = "metrics.json", "report.html"


def check_folder(folder: Path, *, shard: str | None) -> None:
    """Refuse, before anything is scored, what would be refused after.

    Raises:
        ConfigError: for a part of the split, or a folder with other metrics in it, such as a training run's.
    """
    if shard:
        raise ConfigError("--out needs the whole split: give each shard --json FILE, then `featalign merge-scores`")
    path = folder / METRICS
    if path.is_file() and not _ours(path):
        raise ConfigError(f"{path} is not from `featalign eval`, perhaps a training run's own; choose another --out")


def write_report(done: Scored, folder: Path, *, run: Path, data: Path, pictures: int) -> None:
    """Write both files and say so. ``pictures``: of the worst images, and as many of the best."""
    ranked = Ranked.of(done.found)
    about = {"run": str(run), "data": str(data), **done.settings}
    worst, best = ranked.ends(pictures)
    rerun = Rerun(done.predictor, done.samples, parse_size(done.settings["input_size"]))
    shown = list(progress(examples([*worst, *best], [rerun]), total=len(worst) + len(best), description="drawing"))
    text = evaluation_report(
        done.found,
        ranked,
        title=str(run),
        settings=about,
        versions=versions(),
        worst=shown[: len(worst)],
        best=shown[len(worst) :],
    )
    save_json(
        folder / METRICS,
        {**about, "versions": versions(), **done.found.to_json(), "per_image": ranked.to_json()},
    )
    write_atomically(folder / PAGE, text)
    out.print(f"{METRICS} and {PAGE} written to {folder}")


def _ours(path: Path) -> bool:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "counts" in content
