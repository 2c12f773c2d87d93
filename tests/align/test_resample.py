"""Plain resamplers and the adding fuse: sizes, values against torch's own operations, gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from featalign.align.carafe import Carafe, carafe_add
from featalign.align.resample import (
    AddFuse,
    Deconvolution,
    Resize,
    UpsamplingModule,
    bilinear_add,
    deconvolution_add,
    fit,
    nearest_add,
    upsampling_add,
)
from featalign.errors import ConfigError

FUSES = [nearest_add, bilinear_add, deconvolution_add, upsampling_add, carafe_add]
SIZES = [((4, 6), (8, 12)), ((5, 7), (9, 13)), ((3, 4), (16, 10)), ((1, 1), (1, 2)), ((4, 4), (4, 4)), ((6, 5), (3, 9))]


@pytest.mark.parametrize("factory", FUSES)
@pytest.mark.parametrize(("coarse_size", "fine_size"), SIZES, ids=str)
def test_every_fuse_gives_the_fine_size_and_reaches_every_parameter(factory, coarse_size, fine_size):
    torch.manual_seed(0)
    fuse = factory(5, 8).train()
    coarse = torch.randn(2, 8, *coarse_size, requires_grad=True)
    fine = torch.randn(2, 5, *fine_size, requires_grad=True)
    out = fuse(coarse, fine)
    assert out.shape == (2, 8, *fine_size)
    (out * torch.randn_like(out)).sum().backward()
    for name, tensor in [("coarse", coarse), ("fine", fine), *fuse.named_parameters()]:
        assert tensor.grad is not None and tensor.grad.isfinite().all(), name
        assert tensor.grad.abs().sum() > 0, name


@pytest.mark.parametrize("factory", FUSES)
def test_a_fuse_is_the_lateral_plus_the_coarse_map(factory):
    torch.manual_seed(0)
    fuse = factory(5, 8).eval()
    coarse, fine = torch.randn(1, 8, 5, 7), torch.randn(1, 5, 9, 13)
    lateral = torch.einsum("oc,bchw->bohw", fuse.lateral.weight[:, :, 0, 0], fine) + fuse.lateral.bias[:, None, None]
    assert torch.allclose(fuse(coarse, fine), lateral + fuse.resample(coarse, (9, 13)), atol=1e-5)


def test_resize_takes_cell_centres():
    ramp = torch.arange(4.0).view(1, 1, 1, 4)
    assert Resize("nearest")(ramp, (1, 8)).flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert Resize("nearest")(ramp, (1, 3)).flatten().tolist() == [0, 2, 3]
    assert Resize("bilinear")(ramp, (1, 8)).flatten().tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    with pytest.raises(ConfigError, match="bilinear"):
        Resize("bilinaer")


@pytest.mark.parametrize("kernel", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_deconvolution_enlarges_exactly(scale, kernel):
    layer = Deconvolution(3, scale=scale, kernel=kernel)
    x = torch.randn(2, 3, 5, 7)
    assert layer.convolution(x).shape == (2, 3, 5 * scale, 7 * scale)
    assert layer(x, (5 * scale, 7 * scale)).shape == (2, 3, 5 * scale, 7 * scale)


def test_deconvolution_refuses_what_enlarges_nothing():
    with pytest.raises(ConfigError, match="scale of at least 2"):
        Deconvolution(3, scale=1)


def test_deconvolution_spreads_each_cell_over_its_own_place():
    """One lit cell of four lights output cells around its own quarter, none of them off by a coarse cell."""
    layer = Deconvolution(1, scale=2, kernel=3)
    torch.nn.init.ones_(layer.convolution.weight)
    torch.nn.init.zeros_(layer.convolution.bias)
    x = torch.zeros(1, 1, 1, 4)
    x[..., 2] = 1
    lit = layer(x, (2, 8))[0, 0, 0].nonzero().flatten().tolist()
    assert {4, 5} <= set(lit) <= {3, 4, 5, 6}


def test_a_surplus_is_cut_and_anything_else_is_resized():
    x = torch.randn(1, 2, 10, 16)
    assert torch.equal(fit(x, (9, 15), scale=2), x[..., :9, :15])
    assert torch.equal(fit(x, (3, 9), scale=8), x[..., :3, :9])
    for size in [(8, 16), (10, 17), (20, 32)]:
        assert torch.equal(fit(x, size, scale=2), F.interpolate(x, size, mode="bilinear"))
    assert torch.equal(fit(x, (9, 40), scale=2), F.interpolate(x[..., :9, :], (9, 40), mode="bilinear"))


def test_upsampling_module_passes_through_the_sizes_of_the_levels_between():
    torch.manual_seed(0)
    module = UpsamplingModule(4, convolutions=3).eval()
    x = torch.randn(1, 4, 5, 3)
    expected = x
    for convolution, size in zip(module.convolutions, [(9, 6), (17, 11), (33, 21)], strict=True):
        expected = F.interpolate(convolution(expected), size, mode="bilinear", align_corners=False)
    assert torch.equal(module(x, (33, 21)), expected)


def test_a_module_of_ones_own_can_resample():
    class First(torch.nn.Module):
        def forward(self, x, size):
            return x[..., :1, :1].expand(-1, -1, *size)

    fuse = AddFuse(3, 4, resample=First())
    assert fuse(torch.randn(1, 4, 2, 2), torch.randn(1, 3, 5, 6)).shape == (1, 4, 5, 6)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_carafe_keeps_a_constant_inside_and_its_kernels_sum_to_one(scale):
    torch.manual_seed(0)
    module = Carafe(6, scale=scale, compressed=8)
    x = torch.randn(2, 6, 5, 7)
    kernels = module.kernels(x)
    assert kernels.shape == (2, 25, 5 * scale, 7 * scale)
    assert torch.allclose(kernels.sum(1), torch.ones(()), atol=1e-5)
    inside = module(torch.ones(1, 6, 5, 7), (5 * scale, 7 * scale))[..., 2 * scale : 3 * scale, 2 * scale : 5 * scale]
    assert torch.allclose(inside, torch.ones(()), atol=1e-5)


def test_carafe_has_the_parameters_of_its_paper():
    """Compressor, encoder with (scale * kernel)^2 outputs, both with bias."""
    count = sum(p.numel() for p in Carafe(256, scale=2).parameters())
    assert count == 256 * 64 + 64 + 64 * 9 * 100 + 100


@pytest.mark.parametrize("options", [{"kernel": 4}, {"encoder": 2}])
def test_carafe_refuses_a_neighbourhood_without_a_middle(options):
    with pytest.raises(ConfigError, match="must be odd"):
        Carafe(8, **options)
