from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from featalign.errors import FeatalignError
from featalign.training.run_folder import RunFolder, prepare, remove_leftovers, write_json


def test_new_and_foreign_folders_are_free(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for root in (tmp_path, tmp_path / "a" / "b"):
        assert RunFolder(root).earlier() == []
        prepare(RunFolder(root))
        assert root.is_dir()


@pytest.mark.parametrize("part", ["model", "last", "checkpoints", "tensorboard", "log", "metrics", "start_from"])
def test_any_part_of_a_run_is_seen(tmp_path: Path, part: str) -> None:
    folder = RunFolder(tmp_path)
    path = getattr(folder, part)
    path.touch() if path.suffix else path.mkdir()
    assert folder.earlier() == [path]


def test_prepare_removes_the_run_and_nothing_else(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.model.mkdir()
    (folder.model / "config.json").touch()
    for path in (folder.log, tmp_path / ".metrics.0a1b.tmp.json", tmp_path / "notes.txt"):
        path.touch()
    prepare(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(FeatalignError, match="cannot be used as a run folder"):
            prepare(RunFolder(root))


def test_files_that_a_killed_process_was_writing_go(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name in (".recipe.0a1b.tmp.yaml", "model/.model.0a1b.tmp.safetensors", "model/config.json", "notes.tmp"):
        (tmp_path / name).touch()
    remove_leftovers(RunFolder(tmp_path))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["config.json", "model", "notes.tmp"]


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"miou": math.nan, "iou": {"a": 0.5}})
    assert json.loads((tmp_path / "x.json").read_text()) == {"miou": None, "iou": {"a": 0.5}}
