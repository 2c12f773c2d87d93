"""How much memory an answer may take on its way."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from featalign.errors import ConfigError

_CGROUP = Path("/sys/fs/cgroup")


class Budget(NamedTuple):
    """Bytes that one step may hold: one of ``parts`` equal parts of the bytes ``given`` to all."""

    bytes: int
    given: int
    parts: int = 1

    def half(self) -> Budget:
        """What each of two steps may hold that hold something at once."""
        return Budget(max(1, self.bytes // 2), self.given, 2 * self.parts)


def memory_budget(max_memory: int | Budget | None, device: torch.device) -> Budget:
    """``max_memory`` in bytes, or half of what is free on the device now; the part of a larger step as it is.

    Raises:
        ConfigError: for less than one byte.
    """
    if isinstance(max_memory, Budget):
        return max_memory
    given = free_bytes(device) // 2 if max_memory is None else max_memory
    if given < 1:
        raise ConfigError(f"max_memory must be a positive number of bytes, got {given}")
    return Budget(given, given)


def free_bytes(device: torch.device) -> int:
    """What can still be allocated; 1 GiB where the system does not say."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    found = [free for free in (_available(), _cgroup_room()) if free is not None]
    return min(found, default=1 << 30)


def _available() -> int | None:
    """What the system has left, caches that it would give up included."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _cgroup_room() -> int | None:
    """What the container's limit leaves, where there is one."""
    try:
        limit, used = (
            (_CGROUP / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current")
        )
        return None if limit == "max" else max(0, int(limit) - int(used))
    except (OSError, ValueError):
        return None


def fit_tile(rows: int, columns: int, footprint: Callable[[int, int], int], budget: Budget) -> tuple[int, int]:
    """The largest tile, of whole rows if possible, that ``footprint(rows, columns)`` in bytes allows.

    Raises:
        ConfigError: if not even one pixel fits; the message says for which ``given`` one would.
    """
    if footprint(1, columns) <= budget.bytes:
        return _largest(rows, lambda n: footprint(n, columns) <= budget.bytes), columns
    if footprint(1, 1) > budget.bytes:
        needed = budget.parts * footprint(1, 1)
        raise ConfigError(f"max_memory of {budget.given} bytes is too little: one pixel needs {needed}")
    return 1, _largest(columns, lambda n: footprint(1, n) <= budget.bytes)


def _largest(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest count up to ``limit`` that fits, given that 1 does."""
    low, high = 1, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
