"""Criss-cross attention against a loop over cells; reach of one and two rounds."""

from __future__ import annotations

import pytest
import torch

from featalign.context.rcca import RCCA, CrissCrossAttention


def attention(channels: int) -> CrissCrossAttention:
    torch.manual_seed(0)
    module = CrissCrossAttention(channels, keys=3).double()
    torch.nn.init.constant_(module.gamma, 0.7)
    return module


@pytest.mark.parametrize("size", [(4, 6), (1, 5), (5, 1), (1, 1), (3, 3)], ids=str)
def test_every_cell_sums_its_row_and_column_once(size):
    module = attention(5)
    x = torch.randn(2, 5, *size, dtype=torch.float64)
    query, key, value = module.query(x), module.key(x), module.value(x)
    expected = x.clone()
    height, width = size
    for b in range(2):
        for i in range(height):
            for j in range(width):
                cross = {(g, j) for g in range(height)} | {(i, v) for v in range(width)}
                assert len(cross) == height + width - 1
                energy = torch.stack([query[b, :, i, j] @ key[b, :, g, v] for g, v in cross])
                values = torch.stack([value[b, :, g, v] for g, v in cross])
                expected[b, :, i, j] += 0.7 * (energy.softmax(0) @ values)
    assert torch.allclose(module(x), expected, rtol=0, atol=1e-12)


def test_one_round_reaches_the_cross_and_two_reach_everything():
    module = attention(4)
    x = torch.randn(1, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    for rounds in (1, 2):
        out = x
        for _ in range(rounds):
            out = module(out)
        touched = torch.autograd.grad(out[0, :, 2, 3].sum(), x)[0][0].abs().sum(0) > 0
        expected = torch.ones(5, 6, dtype=torch.bool)
        if rounds == 1:
            expected.zero_()
            expected[2], expected[:, 3] = True, True
        assert torch.equal(touched, expected)


def test_it_starts_as_the_identity():
    x = torch.randn(1, 8, 3, 4)
    assert torch.equal(CrissCrossAttention(8)(x), x)


@pytest.mark.parametrize("size", [(5, 7), (1, 1)], ids=str)
def test_module_trains_on_one_image(size):
    torch.manual_seed(0)
    module = RCCA(6, 4, inner=8).train()
    x = torch.randn(1, 6, *size, requires_grad=True)
    out = module(x)
    assert out.shape == (1, 4, *size)
    (out * torch.randn_like(out)).sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_module_attends_as_often_as_asked(rounds):
    torch.manual_seed(0)
    module = RCCA(6, 4, inner=8, recurrence=rounds).eval()
    torch.nn.init.constant_(module.attention.gamma, 0.7)
    x = torch.randn(1, 6, 4, 5)
    context = module.reduce(x)
    for _ in range(rounds):
        context = module.attention(context)
    assert torch.allclose(module(x), module.merge(torch.cat((x, module.after(context)), 1)), atol=1e-6)
    assert not torch.allclose(context, module.attention(context), atol=1e-3)


def test_recurrence_shares_its_weights():
    counts = {sum(p.numel() for p in RCCA(6, 4, inner=8, recurrence=rounds).parameters()) for rounds in (1, 2, 3)}
    assert len(counts) == 1


def test_gradcheck():
    module = attention(2)
    x = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,))
