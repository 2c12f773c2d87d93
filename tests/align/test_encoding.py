"""Position encodings against the formulas of IFA's section 3.3."""

from __future__ import annotations

import math

import pytest
import torch

from featalign.align import PositionEncoding
from featalign.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "channels"),
    [("none", 0), ("coord", 2), ("sine", 26), ("cosine", 26), ("fixed", 26), ("learned", 26)],
)
def test_length_of_a_code(kind, channels):
    encoding = PositionEncoding(kind)
    assert encoding.channels == channels
    assert encoding(torch.zeros(3, 4, 2)).shape == (3, 4, channels)


@pytest.mark.parametrize("dims", range(12, 73, 12))
def test_sizes_of_figure_3(dims):
    assert PositionEncoding("learned", dims=dims).channels == dims + 2


def test_published_frequencies_wave_by_wave():
    offset = torch.tensor([0.3, -0.7], dtype=torch.float64)
    code = PositionEncoding("fixed", dims=24).double()(offset).tolist()
    frequencies = [2 ** (6 * i / 5) for i in range(6)]
    phases = [f * 0.3 for f in frequencies] + [f * -0.7 for f in frequencies]
    expected = [0.3, -0.7, *map(math.sin, phases), *map(math.cos, phases)]
    assert code == pytest.approx(expected, abs=1e-5)


def test_codes_are_not_rounded_under_autocast():
    """A phase of 64 in bf16 is known to a quarter of a radian; training would see other codes than evaluation."""
    encoding, offsets = PositionEncoding("learned"), torch.rand(100, 2)
    with torch.autocast("cpu", torch.bfloat16):
        codes = encoding(offsets)
    assert torch.equal(codes, encoding(offsets))


def test_printed_frequencies():
    matrix = PositionEncoding("fixed", dims=12, frequencies="paper").frequencies
    assert matrix[:3, 0].tolist() == pytest.approx([2 * math.e**i for i in (1, 2, 3)], rel=1e-6)
    assert matrix[3:, 0].tolist() == [0, 0, 0]


def test_single_functions_use_the_same_room():
    offset = torch.rand(5, 2)
    for kind, wave in (("sine", torch.sin), ("cosine", torch.cos)):
        encoding = PositionEncoding(kind, dims=8)
        assert torch.equal(encoding(offset)[:, 2:], wave(offset @ encoding.frequencies.T))


def test_only_learned_frequencies_train_and_are_stored():
    learned, fixed = PositionEncoding("learned"), PositionEncoding("fixed")
    assert list(learned.state_dict()) == ["frequencies"] and not fixed.state_dict()
    assert torch.equal(learned.frequencies, fixed.frequencies)
    learned(torch.rand(9, 2)).square().sum().backward()
    learned(torch.rand(9, 2)).pow(3).sum().backward()
    assert learned.frequencies.grad.abs().sum() > 0


@pytest.mark.parametrize(("kind", "dims"), [("learned", 26), ("sine", 3), ("fixed", 0), ("cosine", -4)])
def test_sizes_that_do_not_divide(kind, dims):
    with pytest.raises(ConfigError, match=r"dims must be a positive (multiple of|whole number)"):
        PositionEncoding(kind, dims=dims)


def test_octaves_set_the_highest_frequency():
    assert PositionEncoding("fixed", octaves=3).frequencies.max() == 8
    for kind in ("fixed", "coord"):  # with and without an effect
        for wrong in (-1, 17, math.nan, "3", None):
            with pytest.raises(ConfigError, match="octaves must be a number from 0 to 16, got"):
                PositionEncoding(kind, octaves=wrong)


def test_misspelt_names():
    with pytest.raises(ConfigError, match='did you mean "cosine"'):
        PositionEncoding("cosin")
    for kind in ("fixed", "coord"):  # with and without an effect
        with pytest.raises(ConfigError, match='did you mean "paper"'):
            PositionEncoding(kind, frequencies="papper")
