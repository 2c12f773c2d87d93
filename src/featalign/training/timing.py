"""How long a run has taken and will take."""

from __future__ import annotations

import math
import time
from collections import deque

_RECENT = 100
"""Iterations by which the time left is judged."""


class Stopwatch:
    """Times iterations and validations apart, so that neither distorts the other's rate."""

    def __init__(self, *, iterations: int, validate_every: int | None) -> None:
        """``validate_every``: None for a run without validation."""
        self.iterations = iterations
        self.validate_every = validate_every
        self._steps = 0
        self._seconds = 0.0
        self._window_steps = 0
        self._window_seconds = 0.0
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._validations = 0
        self._validation_seconds = 0.0
        self._mark = time.perf_counter()

    def start(self) -> None:
        """The clock of the next iteration or validation begins now."""
        self._mark = time.perf_counter()

    def step(self) -> None:
        """An iteration ended, its wait for data included; the next one begins."""
        elapsed = self._lap()
        self._steps += 1
        self._seconds += elapsed
        self._window_steps += 1
        self._window_seconds += elapsed
        self._recent.append(elapsed)

    def validation(self) -> None:
        """A validation ended; an iteration begins."""
        self._validation_seconds += self._lap()
        self._validations += 1

    def steps_per_second(self) -> float:
        """The rate since it was last asked for."""
        rate = self._window_steps / max(self._window_seconds, 1e-9)
        self._window_steps, self._window_seconds = 0, 0.0
        return rate

    @property
    def seconds_per_iteration(self) -> float:
        return self._seconds / max(self._steps, 1)

    @property
    def seconds_left(self) -> float:
        """Remaining iterations at the pace of the last ones, remaining validations at their mean duration so far.

        The slowest of these iterations does not count: it may be the first one, or have slept with the machine.
        """
        left = (self.iterations - self._steps) * self._pace()
        if self.validate_every and self._validations:
            planned = math.ceil(self.iterations / self.validate_every)
            left += max(planned - self._validations, 0) * self._validation_seconds / self._validations
        return left

    def state(self) -> dict[str, float]:
        """The totals, for :meth:`restore`."""
        return {
            "steps": self._steps,
            "seconds": self._seconds,
            "validations": self._validations,
            "validation_seconds": self._validation_seconds,
        }

    def restore(self, state: dict[str, float]) -> None:
        """Add to the totals of an earlier process."""
        self._steps, self._seconds = int(state["steps"]), state["seconds"]
        self._validations, self._validation_seconds = int(state["validations"]), state["validation_seconds"]

    def _pace(self) -> float:
        """Seconds per iteration of late."""
        if len(self._recent) < 2:
            return self.seconds_per_iteration
        return (sum(self._recent) - max(self._recent)) / (len(self._recent) - 1)

    def _lap(self) -> float:
        now = time.perf_counter()
        elapsed, self._mark = now - self._mark, now
        return elapsed
