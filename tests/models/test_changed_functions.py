"""Implicit functions whose layers were replaced, frozen or hooked into: evaluation answers as the modules do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn

from featalign.align import ImplicitFunction
from featalign.models import Segmentor, create_model

Change = Callable[[ImplicitFunction], object]


def other_activation(function: ImplicitFunction) -> None:
    for i, layer in enumerate(function.mlp):
        if isinstance(layer, nn.ReLU):
            function.mlp[i] = nn.GELU()


def dropout_before_the_last(function: ImplicitFunction) -> None:
    function.mlp[-1] = nn.Sequential(nn.Dropout(0.1), function.mlp[-1])


def old_weight_norm(function: ImplicitFunction) -> None:
    nn.utils.weight_norm(function.mlp[2])
    with torch.no_grad():
        function.mlp[2].weight_g.mul_(3)


def other_norm(function: ImplicitFunction) -> None:
    function.mlp[0] = nn.GroupNorm(2, function.hidden[0])


def no_statistics(function: ImplicitFunction) -> None:
    function.mlp[0] = nn.BatchNorm2d(function.hidden[0], track_running_stats=False, affine=False)


def no_bias(function: ImplicitFunction) -> None:
    last = function.mlp[-1]
    function.mlp[-1] = nn.Conv2d(last.in_channels, last.out_channels, 1, bias=False)


def wide_classifier(function: ImplicitFunction) -> None:
    last = function.mlp[-1]
    function.mlp[-1] = nn.Conv2d(last.in_channels, last.out_channels, 3, padding=1)


def hook_on_the_mlp(function: ImplicitFunction) -> None:
    function.mlp.register_forward_hook(lambda module, inputs, answer: answer * 2)


def hook_on_a_layer(function: ImplicitFunction) -> None:
    function.mlp[2].register_forward_hook(lambda module, inputs, answer: answer + 1)


def hook_before_a_block(function: ImplicitFunction) -> None:
    function.content[1].register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))


def own_forward(function: ImplicitFunction) -> None:
    last = function.mlp[-1]
    last.forward = lambda x: nn.Conv2d.forward(last, x) + 1


CHANGES: list[Change] = [
    other_activation,
    dropout_before_the_last,
    old_weight_norm,
    freeze_batch_norm_2d,
    other_norm,
    no_statistics,
    no_bias,
    hook_on_the_mlp,
    hook_on_a_layer,
    hook_before_a_block,
    own_forward,
]


@pytest.fixture
def model() -> Segmentor:
    torch.manual_seed(0)
    return create_model("fpn", classes=5, backbone="resnet10t", width=8, hidden=(12, 8), blend="bilinear").eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(1, 3, 40, 56, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("mode", ["dense", "resized"])
def test_evaluation_answers_as_the_modules_do(model, images, change, mode):
    before = model(images, mode=mode)
    change(model.implicit)
    model.eval()
    assert not model.implicit.foldable
    answer = model(images, mode=mode)
    assert not torch.allclose(before, answer, atol=1e-4) or change in (freeze_batch_norm_2d, dropout_before_the_last)
    points = torch.rand(1, 7, 2, generator=torch.Generator().manual_seed(2))
    asked = model.query(model.encode(images), points)
    with torch.no_grad():
        features = model.encode(images)
        torch.testing.assert_close(model(images, mode=mode), answer.detach(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model.query(features, points), asked.detach(), atol=1e-5, rtol=1e-4)
        labels = model.labels(features, mode=mode)
    assert (labels == answer.argmax(1)).float().mean() > 0.999


def test_a_classifier_that_looks_around_answers_alone(model, images):
    """It has no answer at single points, but on grids."""
    wide_classifier(model.implicit)
    for mode in ("dense", "resized"):
        answer = model(images, mode=mode)
        with torch.no_grad():
            torch.testing.assert_close(model(images, mode=mode), answer.detach(), atol=1e-5, rtol=1e-4)


def test_hooks_on_the_function_itself_are_heeded(model, images):
    handle = model.implicit.register_forward_hook(lambda module, inputs, answer: answer * 0)
    with torch.no_grad():
        assert not model(images, mode="resized").any() and not model(images, mode="dense").any()
        handle.remove()
        assert model.implicit.foldable and model(images).any()
