from __future__ import annotations

import contextlib
import sys
import threading

import pytest

from featalign.errors import ConfigError, FeatalignError
from featalign.training.run import train
from featalign.training.tensorboard import TensorBoardLog


def curves(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_numbers_become_curves(tmp_path):
    pytest.importorskip("tensorboard")
    with TensorBoardLog(tmp_path) as log:
        log.write("train", step=1, loss=0.5, lr=0.25, auxiliary_loss=None)
        log.write("validation", step=2, miou=0.5, iou={"road": 0.75, "sky": float("nan")}, best=True, absent=["sky"])
    assert curves(tmp_path) == {
        "train/loss": [(1, 0.5)],
        "train/lr": [(1, 0.25)],
        "validation/miou": [(2, 0.5)],
        "validation/iou/road": [(2, 0.75)],
    }


def test_resumed_run_hides_what_came_after_its_checkpoint(tmp_path):
    pytest.importorskip("tensorboard")
    with TensorBoardLog(tmp_path) as log:
        for step in (1, 2, 3):
            log.write("train", step=step, loss=1.0)
    with TensorBoardLog(tmp_path, resumed_at=2) as log:
        log.write("train", step=3, loss=0.5)
    assert curves(tmp_path)["train/loss"] == [(1, 1.0), (2, 1.0), (3, 0.5)]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_full_disk_is_told_in_one_line(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(threading, "excepthook", lambda args: None)  # TensorBoard writes in a thread of its own
    rows = {f"curve{number}": 1.0 for number in range(1000)}
    with files_of_at_most(100), pytest.raises(FeatalignError, match="be written"), TensorBoardLog(tmp_path) as log:
        log.write("train", step=1, **rows)
    with files_of_at_most(100), pytest.raises(ValueError, match="before"), TensorBoardLog(tmp_path) as log:
        with contextlib.suppress(FeatalignError):
            log.write("train", step=1, **rows)
        raise ValueError("before")


@contextlib.contextmanager
def files_of_at_most(length):
    """The system writes no byte of any file beyond ``length``: an OSError, as on a full disk."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"pip install 'featalign\[tensorboard\]'"):
        TensorBoardLog(tmp_path)


def test_missing_package_is_named_before_anything_is_made(tiny, scenes, quiet, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"pip install 'featalign\[tensorboard\]'"):
        train(tiny("training.tensorboard=true"), data=scenes, out=out, device="cpu", console=quiet)
    assert not out.exists()
