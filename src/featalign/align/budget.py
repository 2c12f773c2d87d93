"""How much memory an answer may take on its way."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from featalign.errors import ConfigError
from featalign.memory import free_memory


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
    free = free_memory()
    return 1 << 30 if free is None else free


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
