from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from featalign.metrics import Scores
from featalign.spec import Classes
from featalign.training import Recipe
from featalign.training.judging import Judgement, scores_row
from featalign.training.log import RunLog
from featalign.training.progress import ProgressLine
from featalign.training.recorder import Recorder
from featalign.training.steps import Step


def scores_of(miou: float) -> Scores:
    return Scores(miou=miou, iou=[miou, math.nan], pixel_accuracy=0.5, mean_accuracy=0.5, absent=[1])


def found(miou: float) -> Judgement:
    return Judgement(scores_row(scores_of(miou), Classes.numbered(2)), "miou", "")


def recorder_of(recipe: Recipe, log: RunLog, *, boards: Any = None) -> Recorder:
    return Recorder(
        recipe.training,
        validates=True,
        log=log,
        board=boards,
        progress=ProgressLine(Console(file=io.StringIO(), width=120), total=9),
    )


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_only_a_better_score_is_the_best(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    path = tmp_path / "log.jsonl"
    with RunLog(path) as log:
        recorder = recorder_of(tiny(), log)
        better, waited = [], []
        for step, miou in enumerate([0.3, 0.5, 0.4, 0.5, 0.6, 0.1], start=1):
            recorder.validation_starts(1)
            better.append(recorder.validated(step, found(miou)))
            waited.append(recorder.without_better)
    assert better == [True, True, False, False, True, False], "an equal score keeps the earlier model"
    assert waited == [0, 0, 1, 2, 0, 1]
    assert recorder.best is not None and (recorder.best["step"], recorder.best["miou"]) == (5, 0.6)
    assert recorder.best["metric"] == "miou"
    assert [row["best"] for row in rows(path)] == better
    assert [row["miou"] for row in rows(path)] == [0.3, 0.5, 0.4, 0.5, 0.6, 0.1]
    assert rows(path)[0]["iou"] == {"class 0": 0.3, "class 1": None}


def test_what_had_no_score_is_the_best_only_until_one_has(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    with RunLog(tmp_path / "log.jsonl") as log:
        recorder = recorder_of(tiny(), log)
        better = [recorder.validated(step, found(miou)) for step, miou in enumerate([math.nan, 0.2, math.nan, 0.3])]
    assert better == [True, True, False, True]


def test_going_on_cuts_the_log_back(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    """Rows after the checkpoint are written again; those before stay, and so does the best."""
    path, step = tmp_path / "log.jsonl", Step({"loss": 1.0}, gradient_norm=2.0, lr=0.1, stop=False)
    with RunLog(path) as log:
        recorder = recorder_of(tiny(), log)
        recorder.step(1, step)
        recorder.validated(1, found(0.5))
        state = json.loads(json.dumps(recorder.state()))
        recorder.step(2, step)
        path.open("a").write('{"kind": "tra')  # a row that was cut by the kill
    with RunLog(path) as log:
        again = recorder_of(tiny(), log)
        again.restore(state)
        assert not again.validated(2, found(0.5))
        again.step(2, step)
    assert [(row["kind"], row["step"]) for row in rows(path)] == [
        ("train", 1),
        ("validation", 1),
        ("validation", 2),
        ("train", 2),
    ]


def test_skipped_steps_are_logged_with_their_files(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    path = tmp_path / "log.jsonl"
    with RunLog(path) as log:
        step = Step({"loss": math.nan}, math.inf, lr=0.1, stop=False, skipped=True, files=("a", "b"))
        recorder_of(tiny("training.log_every=10"), log).step(7, step)
    assert rows(path) == [{"kind": "skipped", "step": 7, "loss": None, "gradient_norm": None, "files": ["a", "b"]}]


def test_rows_go_to_tensorboard_too(tmp_path: Path, tiny: Callable[..., Recipe]) -> None:
    written: list[tuple[str, int]] = []

    class Board:
        def write(self, kind: str, *, step: int, **values: object) -> None:
            written.append((kind, step))

    with RunLog(tmp_path / "log.jsonl") as log:
        recorder = recorder_of(tiny(), log, boards=Board())
        recorder.step(1, Step({"loss": 1.0}, 1.0, lr=0.1, stop=False))
        recorder.validated(1, found(0.5))
    assert written == [("train", 1), ("validation", 1)]


def test_scores_are_told_by_class_name() -> None:
    row = scores_row(scores_of(0.25), Classes.named(["sky", "sea"]))
    assert row["absent"] == ["sea"]
    assert row["iou"]["sky"] == 0.25 and math.isnan(row["iou"]["sea"])
