from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from featalign.errors import FeatalignError
from featalign.training.guards import MOST_SKIPPED, NonFiniteGuard, deterministic, explained


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))


def test_stops_with_step_files_and_the_largest_gradient_before() -> None:
    guard = NonFiniteGuard(network(), on_nan="stop")
    for step, norm in enumerate([1.0, 12.34, math.inf, 5.0]):
        guard.begin()
        guard.passed(step, norm)
    message = (
        r"the loss became nan at step 4 on a, b; largest gradient norm before: 12\.3 at step 1\. Lower training\.lr, .*"
        r"--on-nan skip"
    )
    with pytest.raises(FeatalignError, match=message):
        guard.failed(4, loss=math.nan, files=["a", "b"])


def test_gradient_of_the_first_step() -> None:
    guard = NonFiniteGuard(network(), on_nan="stop")
    with pytest.raises(FeatalignError, match="the gradient was not finite at step 1 on a; no step before was good"):
        guard.failed(1, loss=1.0, files=["a"])


def test_skipping_puts_running_statistics_back_and_counts() -> None:
    net = network()
    guard = NonFiniteGuard(net, on_nan="skip")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    guard.begin()
    net(torch.full((2, 1, 3, 3), math.nan))
    assert net[1].running_mean.isnan().any()  # type: ignore[index]
    guard.failed(0, loss=math.nan, files=["a"])
    assert guard.skipped == 1
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_gives_up_when_nothing_is_learnt_any_more() -> None:
    guard = NonFiniteGuard(network(), on_nan="skip")
    guard.begin()
    for step in range(MOST_SKIPPED - 1):
        guard.failed(step, loss=math.nan, files=["a"])
    guard.passed(99, 1.0)
    for step in range(MOST_SKIPPED - 1):
        guard.failed(step, loss=math.nan, files=["a"])
    assert guard.skipped == 2 * (MOST_SKIPPED - 1)
    with pytest.raises(FeatalignError, match=f"{MOST_SKIPPED}th step skipped in a row"):
        guard.failed(7, loss=math.nan, files=["a"])


def test_state_goes_on() -> None:
    guard = NonFiniteGuard(network(), on_nan="skip")
    guard.begin()
    guard.passed(3, 7.5)
    guard.failed(4, loss=math.nan, files=["a"])
    again = NonFiniteGuard(network(), on_nan="stop")
    again.restore(guard.state())
    assert again.skipped == 1
    with pytest.raises(FeatalignError, match=r"7\.5 at step 3"):
        again.failed(5, loss=math.nan, files=["a"])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), r"lower training\.batch or data\.crop"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), r"lower data\.workers"),
        (RuntimeError("put_ does not have a deterministic implementation, but"), r"put_ has no deterministic form"),
    ],
)
def test_what_a_machine_cannot_do_is_explained(error: Exception, message: str) -> None:
    with pytest.raises(FeatalignError, match=message), explained():
        raise error


def test_other_errors_are_ours() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explained():
        raise RuntimeError("shapes")


def test_determinism_is_asked_for_and_put_back() -> None:
    values = torch.zeros(3)
    with pytest.raises(FeatalignError, match="put_ has no deterministic form"), explained(), deterministic(True):
        values.put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(False):
        values.put_(torch.tensor([0]), torch.tensor([1.0]))
