from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from featalign.training import launch as launching
from featalign.training.launch import launch


def python(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code])


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["--bogus"], 2)])
def test_every_process_runs_the_command(arguments: list[str], code: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(arguments, processes=2) == code
    said = capfd.readouterr()
    assert (said.out + said.err).count("Usage:") == 2


def test_each_is_told_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    places = []

    def started(command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        places.append({name: env[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")})
        return real([sys.executable, "-c", ""])

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", started)
    assert launch(["train"], processes=2) == 0
    sizes = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    assert places == [{"RANK": rank, "LOCAL_RANK": rank, **sizes} for rank in "01"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_the_end_of_one_is_the_end_of_all(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """One that was killed is told about; one that does not end by itself is ended."""
    monkeypatch.setattr(launching, "GRACE", 0.2)
    stuck = python("import time; time.sleep(60)")
    killed = python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert launching._watch([stuck, killed]) == 128 + signal.SIGKILL
    assert stuck.returncode == -signal.SIGKILL
    assert "a process was ended from outside (SIGKILL" in capfd.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_sigterm_is_handed_on() -> None:
    child = python("import time; time.sleep(60)")
    with launching._handing_on([child]):
        signal.raise_signal(signal.SIGTERM)
        assert child.wait(timeout=30) == -signal.SIGTERM
