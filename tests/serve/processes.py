"""The real service in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx


@contextmanager
def service(*arguments: str | Path, log: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen, str]]:
    """``featalign serve`` on a free port, ready; the process and its address. Ended after the block."""
    command = [sys.executable, "-m", "featalign", "serve", *map(str, arguments), "--port", str(port), "--device", "cpu"]
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        yield process, _address(process, log)
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen, log: Path) -> str:
    for _ in range(1200):
        time.sleep(0.1)
        assert process.poll() is None, log.read_text()
        found = re.search(r"serving on (http://[\d.]+:\d+)", log.read_text())
        if found:
            try:
                if httpx.get(f"{found[1]}/ready").status_code == 200:
                    return found[1]
            except httpx.TransportError:
                continue
    raise AssertionError(f"not ready: {log.read_text()}")
