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
    """What oneDNN is asked for."""
    asked: list[Tensor] = []
    own = torch.mkldnn_convolution
    monkeypatch.setattr(torch, "mkldnn_convolution", lambda x, *rest: (asked.append(x), own(x, *rest))[1])
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
def test_other_precisions_and_training_are_torch_s_own(slow, convolutions, kind):
    rows, matrix = torch.randn(300, 8), torch.randn(8, 4)
    with torch.inference_mode():
        assert product(rows.to(kind), matrix.to(kind)).dtype == kind
        with torch.autocast("cpu", torch.bfloat16):
            product(rows, matrix)
    product(rows, matrix.requires_grad_()).sum().backward()
    assert matrix.grad is not None and convolutions == []
