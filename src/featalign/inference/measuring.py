"""What running a network takes: seconds, and memory at its peak."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")


class Meter:
    """Times calls, and knows how much memory they took at most on top of what was in use when it was made.

    On CUDA that is what torch allocates on the device. On the CPU it is the resident memory of this process, which
    Linux alone tells; it holds what other threads of the process take meanwhile.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: list[float] = []
        """Of each call."""
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before: int | None = torch.cuda.memory_allocated(device)
        else:
            self._before = _resident("VmRSS") if _reset_peak() else None

    def __call__(self, run: Callable[[], T]) -> T:
        """What ``run`` gives; the clock stops when the device is done."""
        start = time.perf_counter()
        result = run()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.seconds.append(time.perf_counter() - start)
        return result

    @property
    def peak_memory(self) -> int | None:
        """Bytes, None where the system does not say."""
        if self._before is None:
            return None
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._before
        peak = _resident("VmHWM")
        return None if peak is None else max(0, peak - self._before)


def _reset_peak() -> bool:
    """Make Linux forget the peak so far. False where that cannot be done."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _resident(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(found[0]) * 2**10 if found else None
