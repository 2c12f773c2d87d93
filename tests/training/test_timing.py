from __future__ import annotations

import time

import pytest

from featalign.training.timing import Stopwatch


def test_iterations_and_validations_are_timed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    watch = Stopwatch(iterations=10, validate_every=4)
    for _ in range(4):
        now += 2.0
        watch.step()
    assert watch.steps_per_second() == pytest.approx(0.5)
    assert watch.seconds_left == pytest.approx(6 * 2.0)
    watch.start()
    now += 30.0
    watch.validation()
    for _ in range(2):
        now += 1.0
        watch.step()
    assert watch.steps_per_second() == pytest.approx(1.0), "of the last two steps, the validation left out"
    assert watch.seconds_per_iteration == pytest.approx(10 / 6)
    assert watch.seconds_left == pytest.approx(4 * 10 / 6 + 2 * 30.0), "validations at 8 and at the end are to come"


def test_nothing_measured_yet() -> None:
    watch = Stopwatch(iterations=10, validate_every=None)
    assert watch.steps_per_second() == 0
    assert watch.seconds_left == 0
