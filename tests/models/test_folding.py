"""Folded networks answer as the networks they were made from, and are stored as such."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from featalign.errors import ConfigError
from featalign.models import Segmentor, create_model, list_models, load_model, save_model
from featalign.models.folding import _logits_and_pairs, folded
from featalign.spec import Classes

SMALL = {"hrnet": {"backbone": "hrnet_w18_small"}, "hrnet_ocr": {"backbone": "hrnet_w18_small"}}


def with_statistics(model: Segmentor) -> Segmentor:
    """As after training: norms that do something."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def network(name: str, **options) -> Segmentor:
    torch.manual_seed(0)
    return with_statistics(create_model(name, classes=4, **{"backbone": "resnet10t", **SMALL.get(name, {}), **options}))


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


@pytest.mark.parametrize("name", list_models())
def test_answers_as_before_with_fewer_norms(name, tmp_path):
    model = network(name)
    result = model.optimized()
    images = torch.randn(2, 3, 71, 90)
    with torch.no_grad():
        wanted = model(images, (50, 60))
        found = result(images, (50, 60))
    scale = wanted.abs().max()
    assert (found - wanted).abs().max() < 1e-5 * scale
    assert norms(result) < norms(model) / 3
    assert result.folded and not model.folded and result.auxiliary is None
    save_model(result, tmp_path)
    again = load_model(tmp_path)
    assert again.folded and norms(again) == norms(result)
    with torch.no_grad():
        assert (again(images, (50, 60)) - wanted).abs().max() < 1e-5 * scale


def test_double_precision_shows_that_it_is_exact():
    model = network("semantic_fpn", align="fapn").double()
    images = torch.randn(1, 3, 64, 80, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(folded(model)(images), model(images), rtol=1e-11, atol=1e-11)


class ReadTwice(nn.Module):
    """A convolution whose output is read after the norm and before it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.convolution(x)
        return self.norm(found) + found


class Reads(Segmentor):
    def __init__(self, part: nn.Module) -> None:
        super().__init__(Classes.numbered(4), in_channels=3, strides=(1,), auto_mode="resized")
        self.part = part

    def maps(self, images):
        return [self.part(images)], None

    def native(self, features):
        return features.maps[0]


def test_a_convolution_that_is_read_twice_is_refused():
    with pytest.raises(ConfigError, match="is used elsewhere too"):
        folded(with_statistics(Reads(ReadTwice())))


class Shared(nn.Module):
    """One convolution behind two norms, as heads over several levels have it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return sum(norm(self.convolution(x)) for norm in self.norms)


def test_a_convolution_of_two_norms_is_left_alone():
    model = with_statistics(Reads(Shared()))
    result = folded(model)
    assert norms(result) == 2
    images = torch.randn(1, 3, 9, 9)
    with torch.no_grad():
        assert torch.equal(result(images), model(images))


class Failing(Reads):
    def native(self, features):
        raise RuntimeError("no answer")


def test_nobody_listens_any_more_after_an_error():
    model = Failing(Shared())
    with pytest.raises(RuntimeError, match="no answer"), torch.no_grad():
        _logits_and_pairs(model, torch.randn(1, 3, 9, 9))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
