"""Timing of several forms of one computation, so that other work on the machine meets all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def in_turn(forms: Mapping[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median process seconds of each form, by name: called in turn ``runs`` times, after once that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(runs + 1):
        for name, form in forms.items():
            start = time.process_time()
            form()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(spent[1:]) for name, spent in seconds.items()}
