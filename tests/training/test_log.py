from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from featalign.errors import FeatalignError
from featalign.training.log import RunLog


def test_rows_are_on_disk_at_once_and_only_appended(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with RunLog(path) as log:
        log.write("train", step=1, loss=0.5)
        assert json.loads(path.read_text()) == {"kind": "train", "step": 1, "loss": 0.5}
    with RunLog(path) as log:
        log.write("validation", step=2, iou={"Straße": math.nan, "sky": 0.25}, list=[math.inf, 1])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["step"] == 1
    second = json.loads(lines[1], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert second["iou"] == {"Straße": None, "sky": 0.25}
    assert second["list"] == [None, 1]


def test_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FeatalignError, match=r"log\.jsonl: cannot be written \(No such file"):
        RunLog(tmp_path / "missing" / "log.jsonl")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_is_named() -> None:
    """By the write that fails, and not by the closing that follows it, which tries once more."""
    full = Path("/dev/full")
    with pytest.raises(FeatalignError, match=r"/dev/full: cannot be written \(No space left"), RunLog(full) as log:
        log.write("train", step=1)
    with pytest.raises(ValueError, match="before"), RunLog(full) as log:
        with pytest.raises(FeatalignError):
            log.write("train", step=1)
        raise ValueError("before")
