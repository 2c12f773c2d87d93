"""What a run used: memory at its peak."""

from __future__ import annotations

import sys

import torch


def peak_memory() -> dict[str, float]:
    """``peak_rss_mb``, the largest resident memory of this process so far, and ``peak_gpu_mb``, of tensors on a GPU."""
    peaks = {}
    rss = _peak_rss_mb()
    if rss is not None:
        peaks["peak_rss_mb"] = round(rss, 1)
    if torch.cuda.is_available():
        peaks["peak_gpu_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return peaks


def _peak_rss_mb() -> float | None:
    """Unix counts in kilobytes, macOS in bytes; Windows has no such counter."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
