"""Both libraries give the same products, and each is asked where it should be."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.ops import pointwise, product, products


@pytest.fixture(params=[True, False], ids=["oneDNN", "MKL"])
def slow(request, monkeypatch) -> bool:
    if request.param and not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(products, "_mkl_is_slow", lambda: request.param)
    return request.param


@pytest.fixture
def convolutions(monkeypatch) -> list[Tensor]:
    """What is convolved in the way that torch leaves to oneDNN."""
    asked: list[Tensor] = []
    own = F.conv2d

    def conv2d(x: Tensor, *rest, dilation=1, **named) -> Tensor:
        asked.extend([x] if dilation != 1 else [])
        return own(x, *rest, dilation=dilation, **named)

    monkeypatch.setattr(F, "conv2d", conv2d)
    return asked


@pytest.mark.parametrize("shape", [(300, 7, 5), (5, 7, 3), (1024, 64, 19), (300, 0, 5)])
@pytest.mark.parametrize("biased", [True, False])
def test_product(slow, convolutions, shape, biased):
    torch.manual_seed(0)
    rows, matrix = torch.randn(shape[0], shape[1]), torch.randn(shape[1], shape[2])
    bias = torch.randn(shape[2]) if biased else None
    expected = rows.double() @ matrix.double() + (bias.double() if biased else 0)
    with torch.inference_mode():
        found = product(rows, matrix, bias)
        striped = product(rows.T.contiguous().T, matrix, bias)
    assert found.shape == expected.shape and found.is_contiguous()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(striped, found, rtol=1e-5, atol=1e-5)
    assert len(convolutions) == (2 if slow and shape[0] >= 128 and shape[1] else 0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pointwise(slow, convolutions, layout):
    torch.manual_seed(0)
    maps = torch.randn(2, 6, 20, 30).contiguous(memory_format=layout)
    weight, bias = torch.randn(4, 6, 1, 1), torch.randn(4)
    expected = F.conv2d(maps, weight, bias)
    with torch.inference_mode():
        torch.testing.assert_close(pointwise(maps, weight, bias), expected, rtol=1e-5, atol=1e-5)
    assert len(convolutions) == int(slow)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_other_precisions_are_torch_s_own(slow, convolutions, kind):
    rows, matrix = torch.randn(300, 8), torch.randn(8, 4)
    with torch.inference_mode():
        assert product(rows.to(kind), matrix.to(kind)).dtype == kind
        with torch.autocast("cpu", torch.bfloat16):
            product(rows, matrix)
    assert convolutions == []


def test_training(slow, convolutions):
    torch.manual_seed(0)
    rows, matrix, bias = (torch.randn(*shape, requires_grad=True) for shape in ((300, 8), (8, 4), (4,)))
    asked = torch.randn(300, 4)
    found = torch.autograd.grad(product(rows, matrix, bias), (rows, matrix, bias), asked)
    expected = torch.autograd.grad(torch.addmm(bias, rows, matrix), (rows, matrix, bias), asked)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    maps = torch.randn(2, 8, 15, 20, requires_grad=True)
    weight = matrix.detach().T[:, :, None, None].clone().requires_grad_()
    asked = torch.randn(2, 4, 15, 20)
    found = torch.autograd.grad(pointwise(maps, weight, bias), (maps, weight, bias), asked)
    expected = torch.autograd.grad(F.conv2d(maps, weight, bias), (maps, weight, bias), asked)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert len(convolutions) == (2 if slow else 0)


def test_torch_leaves_such_convolutions_to_onednn(monkeypatch):
    """Even where it would multiply by MKL: on one thread."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(products, "_mkl_is_slow", lambda: True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            pointwise(torch.randn(1, 64, 32, 32), torch.randn(32, 64, 1, 1))
    finally:
        torch.set_num_threads(threads)
    assert "aten::mkldnn_convolution" in {event.key for event in profile.key_averages()}
