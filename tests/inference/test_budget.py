"""Bands and budgets: the same answer however it is cut, within the memory asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest
import torch

from featalign.errors import ConfigError
from featalign.inference import Predictor
from featalign.inference.averaging import Average
from featalign.inference.budget import Plan
from featalign.inference.live_memory import EncoderMemory
from featalign.models import Segmentor, create_model

VIEWS = {"scales": (0.5, 1, 1.3), "flip": True, "window": (32, 32)}


@pytest.fixture(scope="module")
def model() -> Segmentor:
    torch.manual_seed(0)
    return create_model("fpn", align="ifa", classes=5, backbone="resnet10t", width=8, hidden=(12,)).eval()


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, 47, 61), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def average(predictor: Predictor, pixels: torch.Tensor, size: tuple[int, int]) -> Average:
    return predictor._average(pixels, size=size, input_size=None, box=None)


@dataclass
class Fixed:
    """A budget that has one plan."""

    only: Plan

    def plan(self) -> Plan:
        return self.only


@pytest.mark.parametrize("published", [None, "ifa", "alignseg"])
def test_any_plan_gives_the_same_answer(model, pixels, published):
    predictor = Predictor(model, device="cpu", published=published, scales=(0.5, 1), flip=True, window=(40, 40))
    expected = average(predictor, pixels, (40, 90)).probabilities()
    for plan in (Plan(7, keep=True), Plan(17)):
        got = replace(average(predictor, pixels, (40, 90)), budget=Fixed(plan)).probabilities()
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-6)


def test_windows_are_let_go_once_passed(model, pixels, monkeypatch):
    """With features kept, each window is seen once, and never more are held than a band can meet."""
    predictor = Predictor(model, device="cpu", window=(16, 61))
    found = replace(average(predictor, pixels, (47, 61)), budget=Fixed(Plan(4, keep=True)))
    seen, look, zeros = [], Average._look, Average._zeros

    def counted(self: Average, index: int, row: object, column: object, flipped: bool) -> object:
        seen.append(row)
        return look(self, index, row, column, flipped)

    monkeypatch.setattr(Average, "_look", counted)
    held = []
    monkeypatch.setattr(Average, "_zeros", lambda self, *size: held.append(len(self._kept)) or zeros(self, *size))
    found.labels()
    assert len(seen) == len(set(seen)) == 4
    assert max(held) <= 2


def test_a_smaller_budget_means_smaller_bands(model, pixels):
    size = (600, 800)
    needs = average(Predictor(model, device="cpu", **VIEWS), pixels, size).budget.needs
    whole, least = needs.total(600, keep=False), needs.total(1, keep=False)
    rows = []
    for budget in (whole, (whole + least) // 2, least):
        plan = average(Predictor(model, device="cpu", max_memory=budget, **VIEWS), pixels, size).budget.plan()
        rows.append(plan.rows)
        assert needs.total(plan.rows, keep=plan.keep) <= budget
    assert rows[0] == 600 > rows[1] > rows[2] >= 1


def test_too_small_a_budget_names_the_smallest(model, pixels):
    with pytest.raises(ConfigError, match=r"a memory budget of 1KiB .* one row of the answer take") as caught:
        Predictor(model, device="cpu", max_memory=1000, **VIEWS).labels(pixels)
    least = int(re.search(r"take (\d+)MiB", str(caught.value))[1]) * 2**20
    assert "\n" not in str(caught.value)
    assert Predictor(model, device="cpu", max_memory=least, **VIEWS).labels(pixels).shape == (1, 47, 61)
    with pytest.raises(ConfigError, match="smaller windows"):
        Predictor(model, device="cpu", max_memory=1000).labels(pixels)


def test_too_small_a_budget_is_refused_before_the_network_runs(model, pixels, monkeypatch):
    monkeypatch.setattr(Average, "_look", lambda *_: pytest.fail("the network has run"))
    with pytest.raises(ConfigError, match="one row of the answer take"):
        Predictor(model, device="cpu", max_memory=1000).labels(pixels)


def test_without_a_budget_nothing_is_refused(model, pixels):
    found = average(Predictor(model, device="cpu", flip=True), pixels, (5, 80))
    starved = replace(found, budget=replace(found.budget, free=lambda: 1000))
    assert starved.budget.plan().rows == 1
    torch.testing.assert_close(starved.probabilities(), found.probabilities(), rtol=0, atol=2e-6)


def test_memory_of_looking_follows_the_size(model):
    memory = EncoderMemory(model)
    small, large = memory((64, 64)), memory((256, 128))
    assert large.peak == pytest.approx(8 * small.peak, rel=0.1)
    assert 0 < small.kept < small.peak
    features = model.encode(torch.zeros(1, 3, 64, 64))
    assert small.kept == sum(level.numel() * 4 for level in features.maps)
