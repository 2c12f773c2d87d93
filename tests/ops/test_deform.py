"""Deformable convolution against torchvision's operator, a naive loop and the ordinary convolution."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

from featalign.ops import deform
from featalign.ops.deform import deform_conv


def draw(
    *,
    batch: int = 2,
    channels: int = 8,
    size: tuple[int, int] = (5, 7),
    out: int = 3,
    kernel: tuple[int, int] = (3, 3),
    groups: int = 2,
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
    reach: float = 1.5,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Map, offset, mask, weight, bias."""
    generator = torch.Generator().manual_seed(0)
    taps = groups * kernel[0] * kernel[1]
    h, w = ((size[i] + 2 * padding - dilation * (kernel[i] - 1) - 1) // stride + 1 for i in (0, 1))
    shapes = [(batch, channels, *size), (batch, 2 * taps, h, w), (batch, taps, h, w), (out, channels, *kernel), (out,)]
    scales = [1, reach, 1, 1, 1]
    return [
        scale * torch.randn(shape, generator=generator, dtype=dtype)
        for shape, scale in zip(shapes, scales, strict=True)
    ]


def bilinear(plane: Tensor, row: float, column: float) -> float:
    """A plane read between its cells, zero outside."""
    top, left = math.floor(row), math.floor(column)
    total = 0.0
    for i, j in itertools.product((top, top + 1), (left, left + 1)):
        if 0 <= i < plane.shape[0] and 0 <= j < plane.shape[1]:
            total += (1 - abs(row - i)) * (1 - abs(column - j)) * plane[i, j].item()
    return total


def naive(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, groups: int, stride: int, padding: int,
    dilation: int,
) -> Tensor:  # fmt: skip
    """The sum of the docstring, term by term."""
    rows, columns = weight.shape[2:]
    out = bias[None, :, None, None].repeat(x.shape[0], 1, *offset.shape[-2:])
    for b, i, j in itertools.product(range(x.shape[0]), range(offset.shape[2]), range(offset.shape[3])):
        for c, ky, kx in itertools.product(range(x.shape[1]), range(rows), range(columns)):
            tap = (c // (x.shape[1] // groups)) * rows * columns + ky * columns + kx
            row = i * stride - padding + ky * dilation + offset[b, 2 * tap, i, j].item()
            column = j * stride - padding + kx * dilation + offset[b, 2 * tap + 1, i, j].item()
            out[b, :, i, j] += weight[:, c, ky, kx] * mask[b, tap, i, j] * bilinear(x[b, c], row, column)
    return out


GEOMETRIES = [
    {},
    {"groups": 8, "channels": 8},
    {"groups": 1, "batch": 1, "size": (1, 1)},
    {"groups": 4, "size": (4, 9), "stride": 2},
    {"padding": 2, "dilation": 2},
    {"padding": 0},
    {"kernel": (1, 3), "size": (6, 5)},
    {"reach": 12.0},
    {"reach": 1e6},
]


def geometry(options: dict[str, object]) -> dict[str, int]:
    defaults = {"groups": 2, "stride": 1, "padding": 1, "dilation": 1}
    return {name: options.get(name, default) for name, default in defaults.items()}


@pytest.mark.parametrize("options", GEOMETRIES, ids=str)
def test_values_and_gradients_are_torchvisions(options):
    leaves = [tensor.requires_grad_() for tensor in draw(**options)]
    x, offset, mask, weight, bias = leaves
    where = geometry(options)
    got = deform_conv(*leaves, **where)
    del where["groups"]
    expected = deform_conv2d(x, offset, weight, bias, mask=mask, **where)
    assert torch.allclose(got, expected, rtol=0, atol=1e-11)
    factors = torch.randn_like(got)
    ours = torch.autograd.grad((got * factors).sum(), leaves)
    theirs = torch.autograd.grad((expected * factors).sum(), leaves)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "options", [{"batch": 1, "channels": 4, "size": (4, 3), **o} for o in GEOMETRIES[3:8]], ids=str
)
def test_values_are_the_naive_sums(options):
    tensors = draw(**{**options, "groups": 2})
    where = geometry({**options, "groups": 2})
    assert torch.allclose(deform_conv(*tensors, **where), naive(*tensors, **where), rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [*GEOMETRIES, {"batch": 0}, {"reach": math.nan}], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_rows_gathered_without_gradients_are_torchvisions_values(options, layout, monkeypatch):
    monkeypatch.setattr(deform, "WIDE", 1)
    x, offset, mask, weight, bias = draw(**options)
    where = geometry(options)
    with torch.no_grad():
        assert deform._gathers(x, where["groups"])
        got = deform_conv(x.contiguous(memory_format=layout), offset, mask, weight, bias, **where)
    del where["groups"]
    expected = deform_conv2d(x, offset, weight, bias, mask=mask, **where) if len(x) else got[:0]
    if "reach" in options and math.isnan(options["reach"]):
        assert got.isnan().all()
    else:
        assert torch.allclose(got, expected, rtol=0, atol=1e-11)


def test_wide_groups_alone_are_gathered_and_only_without_gradients():
    x = torch.zeros(1, 2 * deform.WIDE, 3, 3)
    assert not deform._gathers(x, 2)
    with torch.no_grad():
        assert deform._gathers(x, 2)
        assert not deform._gathers(x, 4)


def test_without_offset_it_is_a_convolution():
    x, offset, mask, weight, bias = draw(dtype=torch.float32)
    got = deform_conv(x, torch.zeros_like(offset), torch.ones_like(mask), weight, bias, groups=2, padding=1)
    assert torch.allclose(got, F.conv2d(x, weight, bias, padding=1), rtol=0, atol=1e-5)
    assert torch.allclose(
        deform_conv(x, offset, mask, weight, groups=2, padding=1) + bias[:, None, None],
        deform_conv(x, offset, mask, weight, bias, groups=2, padding=1),
        rtol=0,
        atol=1e-5,
    )


def test_an_offset_moves_the_gaze_down_and_right():
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 3, 4] = 1
    offset = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 5, 5)
    got = deform_conv(x, offset, torch.ones(1, 1, 5, 5), torch.ones(1, 1, 1, 1))
    assert got[0, 0].nonzero().tolist() == [[2, 2]]
    assert torch.allclose(got[0, 0, 2, 2], torch.tensor(1.0), atol=1e-6)


def test_gradcheck():
    leaves = [t.requires_grad_() for t in draw(batch=1, channels=4, size=(3, 4), out=2, reach=0.7)]
    assert torch.autograd.gradcheck(lambda *inputs: deform_conv(*inputs, groups=2, padding=1), leaves)


@pytest.mark.parametrize("wide", [1, 32])
def test_bands_change_nothing(wide, monkeypatch):
    monkeypatch.setattr(deform, "WIDE", wide)
    tensors = draw(size=(11, 6))
    whole = deform_conv(*(t.requires_grad_() for t in tensors), groups=2, padding=1)
    monkeypatch.setattr(deform, "COLUMN_BYTES", 3 * 4 * 2 * 6 * 72)
    with torch.no_grad():
        assert deform._rows_per_band(tensors[0], tensors[1], tensors[3]) == 3
        assert torch.allclose(deform_conv(*tensors, groups=2, padding=1), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gradients", [True, False])
def test_half_precision_keeps_positions_exact(dtype, gradients, monkeypatch):
    """A map of 600 columns: its last cells have no distinct positions in half precision."""
    monkeypatch.setattr(deform, "WIDE", 1)
    x = torch.arange(600.0).expand(1, 2, 3, 600) % 7
    offset = torch.full((1, 2 * 9, 3, 600), 0.5)
    mask, weight = torch.ones(1, 9, 3, 600), torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    with torch.set_grad_enabled(gradients):
        exact = deform_conv(x, offset, mask, weight, padding=1)
        rough = deform_conv(x.to(dtype), offset.to(dtype), mask.to(dtype), weight.to(dtype), padding=1)
        with torch.autocast("cpu", torch.bfloat16):
            cast = deform_conv(x, offset, mask, weight, padding=1)
    assert (rough.dtype, cast.dtype) == (dtype, torch.bfloat16)
    for values in (rough, cast):
        assert (values.float() - exact).abs().max() < 0.02 * exact.abs().max()


def test_float32_follows_torchvision():
    tensors = draw(batch=1, channels=64, size=(33, 65), out=16, groups=8, dtype=torch.float32)
    x, offset, mask, weight, bias = tensors
    expected = deform_conv2d(x, offset, weight, bias, padding=1, mask=mask)
    assert torch.allclose(
        deform_conv(*tensors, groups=8, padding=1), expected, rtol=0, atol=2e-5 * expected.abs().max()
    )


def test_shapes_are_checked():
    x, offset, mask, weight, bias = draw()
    with pytest.raises(ValueError, match=r"3 groups"):
        deform_conv(x, offset, mask, weight, bias, groups=3, padding=1)
    with pytest.raises(ValueError, match=r"offset \(2, 36, 3, 5\)"):
        deform_conv(x, offset, mask, weight, bias, groups=2)
    with pytest.raises(ValueError, match=r"mask \(2, 9, 5, 7\)"):
        deform_conv(x, offset, mask, weight, bias, padding=1)
    with pytest.raises(ValueError, match="weight"):
        deform_conv(x, offset, mask, weight[:, 1:], bias, groups=2, padding=1)


def test_torchvisions_kernel_behind_the_same_arguments():
    """It is chosen on CUDA only; its call is held here on the CPU."""
    tensors = draw(groups=4, size=(4, 9), stride=2)
    geometry = deform._Geometry(groups=4, stride=2, padding=1, dilation=1)
    got = deform._operator(*tensors, geometry)
    assert torch.allclose(got, deform._by_taps(*tensors, geometry), rtol=0, atol=1e-11)
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        x, offset, mask, weight, bias = (tensor.to(dtype) for tensor in tensors)
        assert deform._operator(x, offset, mask, weight, bias, geometry).dtype == dtype
        with torch.autocast("cpu", torch.bfloat16):
            expected = F.conv2d(x, weight, bias, stride=2, padding=1).dtype
            assert deform._operator(x, offset, mask, weight, bias, geometry).dtype == expected
            assert deform_conv(x, offset, mask, weight, bias, groups=4, stride=2, padding=1).dtype == expected
