"""How much memory is free, and how many samples fit into it."""

from __future__ import annotations

from pathlib import Path

SHARE = 0.5
"""Part of the free memory that a cache may take."""

_LIMITS = (("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),)


def free_memory() -> int | None:
    """Bytes that can still be taken: the system's, or less where a container limits them; None where unknown."""
    found = [free for free in (_system(), *(_container(*files) for files in _LIMITS)) if free is not None]
    return min(found) if found else None


def _system() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    available = fields.get("MemAvailable")
    return int(available.split()[0]) * 1024 if available else None


def _container(limit: str, used: str) -> int | None:
    try:
        return int(Path(limit).read_text()) - int(Path(used).read_text())
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return None
