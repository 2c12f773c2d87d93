"""Several processes on this machine, started and ended together: what ``featalign train --devices N`` does.

Each runs the same command, told its place in the environment as torchrun tells it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from featalign.training.world import GRACE, PARENT

LOOK_EVERY = 0.1


def launch(arguments: Sequence[str], *, processes: int) -> int:
    """Run ``featalign ARGUMENTS`` in ``processes`` processes on this machine until all have ended.

    When one fails, the others have some seconds to end by themselves. SIGTERM is handed on; Ctrl-C reaches all of
    them from the terminal.

    Returns:
        0, or the exit code of the first that failed.
    """
    common = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1"}
    common |= {"MASTER_PORT": _free_port(), PARENT: os.getpid()}
    common |= {"TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR")}  # hints about DDP's own speed
    common |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", max(1, (os.cpu_count() or 1) // processes))}
    children = []
    for rank in range(processes):
        place = {name: str(value) for name, value in {**common, "RANK": rank, "LOCAL_RANK": rank}.items()}
        command = [sys.executable, "-m", "featalign.cli", *arguments]
        children.append(subprocess.Popen(command, env={**os.environ, **place}))
    with _handing_on(children):
        return _watch(children)


def _watch(children: list[subprocess.Popen[bytes]]) -> int:
    try:
        while None in (codes := [child.poll() for child in children]):
            failed = [code for code in codes if code]
            if failed:
                return _end(children, failed[0])
            time.sleep(LOOK_EVERY)
    finally:
        for child in children:
            child.kill()
            child.wait()
    return next((_exit_code(child.returncode) for child in children if child.returncode), 0)


def _end(children: list[subprocess.Popen[bytes]], code: int) -> int:
    """Wait for the others; whoever is left then is killed by the caller."""
    deadline = time.monotonic() + 2 * GRACE
    while time.monotonic() < deadline and any(child.poll() is None for child in children):
        time.sleep(LOOK_EVERY)
    if code < 0:
        name = signal.Signals(-code).name
        print(
            f"featalign: a process was ended from outside ({name}; SIGKILL is often the system, out of memory); "
            "the same command goes on from the last checkpoint",
            file=sys.stderr,
        )
    return _exit_code(code)


def _exit_code(code: int) -> int:
    """As a shell counts a death by signal."""
    return 128 - code if code < 0 else code


@contextmanager
def _handing_on(children: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """SIGTERM goes to every child; SIGINT is theirs anyway, and must not end this process before them."""

    def hand_on(number: int, frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(number)

    before = signal.signal(signal.SIGTERM, hand_on), signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
