"""AlignCM: bins, with and without alignment, both ways to merge."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.context.aligncm import AlignCM
from featalign.errors import ConfigError


class Constant(nn.Module):
    """An offset predictor that answers the same everywhere."""

    def __init__(self, x: float, y: float) -> None:
        super().__init__()
        self.offset = torch.tensor([x, y]).view(1, 2, 1, 1)

    def forward(self, pair: Tensor) -> Tensor:
        return self.offset.expand(pair.shape[0], -1, *pair.shape[-2:])


@pytest.mark.parametrize("bins", [2, 3, 6])
@pytest.mark.parametrize("aligned", [True, False])
def test_starts_as_upsampled_context_plus_local_feature(bins, aligned):
    module = AlignCM(12, 8, bins=bins, aligned=aligned).eval()
    x = torch.randn(2, 12, 7, 9)
    context, local = module.context(x), module.local(x)
    assert context.shape == (2, 8, bins, bins)
    spread = F.interpolate(context, size=(7, 9), mode="bilinear", align_corners=True)
    assert torch.allclose(module(x), local + spread, atol=1e-5)


def test_pooling_is_the_mean_of_each_bin():
    module = AlignCM(4, 4, bins=2, aligned=False).eval()
    x = torch.randn(1, 4, 6, 8)
    means = x.unflatten(3, (2, 4)).unflatten(2, (2, 3)).mean((3, 5))
    assert torch.allclose(module.context[1:](means), module.context(x), atol=1e-6)


def test_pixels_take_the_bin_that_their_offset_points_to():
    """Eleven pixels over three bins, corners on corners: five pixels to the right is one bin to the right."""
    module = AlignCM(4, 8, bins=3).eval()
    module.offset = Constant(5, 0)
    x = torch.randn(1, 4, 5, 11)
    taken = module(x) - module.local(x)
    context = module.context(x)
    rows = F.interpolate(context, size=(5, 3), mode="bilinear", align_corners=True)
    assert torch.allclose(taken[..., 0], rows[..., 1], atol=1e-5)
    assert torch.allclose(taken[..., 5], rows[..., 2], atol=1e-5)
    assert torch.allclose(taken[..., -1], torch.zeros(1, 8, 5), atol=1e-5)


def test_merges():
    torch.manual_seed(0)
    module = AlignCM(6, 4, merge="concat").eval()
    plain = AlignCM(6, 4).eval()
    plain.load_state_dict(module.state_dict())
    x = torch.randn(1, 6, 5, 7)
    both = module(x)
    assert module.out_channels == both.shape[1] == 8 and plain.out_channels == 4
    assert torch.allclose(both[:, :4], module.local(x), atol=1e-6)
    assert torch.allclose(both[:, :4] + both[:, 4:], plain(x), atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (3, 3), (8, 4)])
def test_trains_on_any_size(size):
    module = AlignCM(6, 8)
    nn.init.normal_(module.offset[-1].weight, std=0.3)
    module(torch.randn(1, 6, *size)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_gradients_reach_every_parameter():
    module = AlignCM(6, 8)
    nn.init.normal_(module.offset[-1].weight, std=0.3)
    module(torch.randn(2, 6, 7, 9)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in module.parameters())


def test_wrong_options_are_named():
    with pytest.raises(ConfigError, match='unknown merge "concatt": did you mean "concat"'):
        AlignCM(4, 4, merge="concatt")
    with pytest.raises(ConfigError, match="bins must be at least 2"):
        AlignCM(4, 4, bins=1)
    with pytest.raises(ConfigError, match="bins must be at least"):
        AlignCM(4, 4, bins=0, aligned=False)
    assert isinstance(AlignCM(4, 4, bins=1, aligned=False)(torch.randn(1, 4, 3, 3)), Tensor)
