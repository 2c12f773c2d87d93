"""Runs trainings in processes of their own and kills them: ``python harness.py PLAN.json``.

This process imports everything and then only forks, so that each training starts in a fraction of a second. A plan is

    {"recipe": path, "data": path, "out": path, "processes": 1, "attempts": [...]}

where each attempt says how its processes end: null, by themselves; {"rank": r, "call": n}, process r kills itself with
SIGKILL at the n-th call that the watched files make or take (``watch``, parts of file names); {"rank": r, "raise": n}
raises an error there instead. A number below 1 is a share of the calls that process r made in the first attempt of the
first plan. The exit codes, calls and seconds of every attempt go to PLAN.out.json.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

import featalign.training.run as run
from featalign.errors import FeatalignError
from featalign.training import load_recipe

WATCHED = ("featalign/training/", "featalign/files.py", "featalign/models/storage.py")


class Fuse:
    """Counts calls of and in the watched files, built-in ones included, and acts at the chosen one."""

    def __init__(self, attempt: dict[str, Any] | None, rank: int) -> None:
        mine = attempt is not None and attempt["rank"] == rank
        self.attempt = attempt if mine else None
        self.watched = tuple((attempt or {}).get("watch", WATCHED))
        self.calls = 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event not in ("call", "c_call") or not any(part in frame.f_code.co_filename for part in self.watched):
            return
        self.calls += 1
        if self.attempt is None:
            return
        if self.calls == self.attempt.get("call"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.calls == self.attempt.get("raise"):
            raise FeatalignError("a fault made for the test")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def place(rank: int, size: int, port: int) -> dict[str, str]:
    """As torchrun tells a process its place."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    return {"MASTER_ADDR": "127.0.0.1", **{name: str(number) for name, number in numbers.items()}}


def child(plan: dict[str, Any], attempt: dict[str, Any] | None, rank: int, port: int) -> None:
    """One process of one attempt; never returns."""
    size, fuse = plan.get("processes", 1), Fuse(attempt, rank)
    if size > 1:
        os.environ |= place(rank, size, port)
    code = 0
    sys.setprofile(fuse)
    try:
        recipe = load_recipe(plan["recipe"])
        run.train(recipe, data=Path(plan["data"]), out=Path(plan["out"]), device="cpu", console=Console(stderr=True))
    except FeatalignError as error:
        sys.setprofile(None)
        print(f"featalign: {error}", file=sys.stderr, flush=True)
        code = 2
    except SystemExit:
        code = 2
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.setprofile(None)
        Path(f"{plan['out']}.calls{rank}").write_text(str(fuse.calls))
        sys.stderr.flush()
        os._exit(code)


def attempted(plan: dict[str, Any], attempt: dict[str, Any] | None) -> dict[str, Any]:
    """Fork the processes, wait for all of them."""
    size, port, children = plan.get("processes", 1), free_port(), []
    began = time.monotonic()
    for rank in range(size):
        pid = os.fork()
        if pid == 0:
            child(plan, attempt, rank, port)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    counts = [Path(f"{plan['out']}.calls{rank}") for rank in range(size)]
    calls = [int(path.read_text()) if path.exists() else None for path in counts]
    for path in counts:
        path.unlink(missing_ok=True)
    return {"codes": codes, "calls": calls, "seconds": time.monotonic() - began}


def absolute(attempt: dict[str, Any] | None, results: list[list[dict[str, Any]]]) -> dict[str, Any] | None:
    """Shares turned into numbers of calls."""
    if attempt is None:
        return None
    shares = {key: value for key, value in attempt.items() if isinstance(value, float)}
    return attempt | {key: int(share * results[0][0]["calls"][attempt["rank"]]) for key, share in shares.items()}


def main() -> None:
    path = Path(sys.argv[1])
    plans = json.loads(path.read_text())
    results: list[list[dict[str, Any]]] = []
    for plan in plans:
        results.append([])
        for attempt in plan["attempts"]:
            results[-1].append(attempted(plan, absolute(attempt, results)))
    path.with_suffix(".out.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main()
