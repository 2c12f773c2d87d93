from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from featalign.metrics import Scores
from featalign.spec import Classes
from featalign.training import Recipe
from featalign.training.log import RunLog
from featalign.training.progress import ProgressLine
from featalign.training.recorder import Recorder, scores_row
from featalign.training.timing import Stopwatch


def scores_of(miou: float) -> Scores:
    return Scores(miou=miou, iou=[miou, math.nan], pixel_accuracy=0.5, mean_accuracy=0.5, absent=[1])


def test_only_a_better_score_replaces_the_best_model(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    module: Any = SimpleNamespace(recipe=tiny(), model=SimpleNamespace(classes=Classes.numbered(2)), scores=None)
    trainer: Any = SimpleNamespace(global_step=0, num_val_batches=[1])
    console = Console(file=io.StringIO(), width=120)
    saved: list[int] = []
    with RunLog(tmp_path / "log.jsonl") as log, ProgressLine(console, total=9) as progress:
        recorder = Recorder(
            module,
            log=log,
            progress=progress,
            stopwatch=Stopwatch(iterations=9, validate_every=1),
            save_best=lambda: saved.append(trainer.global_step),
        )
        for step, miou in enumerate([0.3, 0.5, 0.4, 0.5, 0.6, 0.1], start=1):
            trainer.global_step, module.scores = step, scores_of(miou)
            recorder.on_validation_start(trainer, module)
            recorder.on_validation_end(trainer, module)
    assert saved == [1, 2, 5], "an equal score keeps the earlier model"
    assert recorder.best is not None and (recorder.best["step"], recorder.best["miou"]) == (5, 0.6)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["best"]] == saved
    assert [row["miou"] for row in rows] == [0.3, 0.5, 0.4, 0.5, 0.6, 0.1]
    assert rows[0]["iou"] == {"class 0": 0.3, "class 1": None}


def test_scores_are_told_by_class_name() -> None:
    row = scores_row(scores_of(0.25), Classes.named(["sky", "sea"]))
    assert row["absent"] == ["sea"]
    assert row["iou"]["sky"] == 0.25 and math.isnan(row["iou"]["sea"])
