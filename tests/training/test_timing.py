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
    assert watch.seconds_left == pytest.approx(4 * 8 / 5 + 2 * 30.0), "validations at 8 and at the end are to come"


def test_time_left_forgets_what_the_machine_slept_through(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    watch = Stopwatch(iterations=1000, validate_every=None)
    for elapsed in (1.0, 7200.0, 1.0, 1.0):
        now += elapsed
        watch.step()
    assert watch.seconds_left == pytest.approx(996)
    for _ in range(196):
        now += 2.0
        watch.step()
    assert watch.seconds_left == pytest.approx(800 * 2.0), "at the pace of late"
    resumed = Stopwatch(iterations=1000, validate_every=None)
    resumed.restore(watch.state())
    for _ in range(2):
        now += 3.0
        resumed.step()
    assert resumed.seconds_left == pytest.approx(798 * 3.0)
    assert resumed.seconds_per_iteration == pytest.approx((7203 + 196 * 2.0 + 6.0) / 202), "what it took stays told"


def test_nothing_measured_yet() -> None:
    watch = Stopwatch(iterations=10, validate_every=None)
    assert watch.steps_per_second() == 0
    assert watch.seconds_left == 0
