"""One tester over every network with every aligner and context that it is offered with."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from featalign.errors import ConfigError
from featalign.models import (
    Segmentor,
    create_model,
    list_models,
    load_model,
    model_choices,
    model_options,
    save_model,
)

PARTS = ("align", "context", "pathway")
SMALL: dict[str, dict[str, Any]] = {
    "alignseg": {"width": 16},
    "deeplabv3plus": {"width": 16, "detail": 6, "hidden": (24, 16)},
    "fapn": {"width": 16, "head_width": 64},
    "fapn_realtime": {"width": 16, "head_width": 16},
    "fpn": {"width": 16, "hidden": (24, 16)},
    "hrnet": {"hidden": (24, 16)},
    "hrnet_ocr": {"width": 16, "keys": 8, "hidden": (24, 16)},
    "pspnet": {"width": 16, "hidden": (24, 16)},
    "semantic_fpn": {"width": 16, "head_width": 64},
    "sfnet": {"width": 16},
}
MORE: list[tuple[str, dict[str, Any]]] = [
    ("fapn_realtime", {"join": "add"}),
    ("fpn", {"align": "carafe", "extra_stride": 2}),
    ("fpn", {"align": "deconvolution", "pathway": "alignfa"}),
    ("fpn", {"blend": "bilinear", "pathway": "fapn", "aspp": 8, "auxiliary": False}),
    ("semantic_fpn", {"norm": "BN", "auxiliary": True}),
]


def variants() -> list[Any]:
    """Each network once per name of each of its parts, the other parts at their defaults; and a few choices more."""
    named = [(name, part, value) for name in list_models() for part in PARTS for value in offered(name, part)]
    chosen = [(name, {part: value}) for name, part, value in named] + MORE
    return [pytest.param(name, options, id=_said(name, options)) for name, options in chosen]


def _said(name: str, options: dict[str, Any]) -> str:
    return "-".join((name, *(f"{option}={value}" for option, value in options.items())))


def offered(name: str, part: str) -> tuple[str, ...]:
    return model_choices(name).get(part, ())


def without_dropout(model: Segmentor) -> Segmentor:
    for module in model.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    return model


every_variant = pytest.mark.parametrize(("name", "chosen"), variants())


def small(name: str, chosen: dict[str, Any], channels: int = 3) -> Segmentor:
    torch.manual_seed(0)
    return create_model(name, classes=4, backbone="resnet10t", in_channels=channels, **SMALL[name], **chosen)


@every_variant
@pytest.mark.parametrize("channels", [1, 5])
def test_any_size_any_channels_same_answer_twice(name, chosen, channels):
    model = small(name, chosen, channels).eval()
    with torch.no_grad():
        for height, width in ((1, 1), (37, 50)):
            images = torch.randn(1, channels, height, width)
            logits = model(images)
            assert logits.shape == (1, 4, height, width) and logits.isfinite().all()
            assert torch.equal(model(images), logits)
            features = model.encode(images)
            assert features.size == (height, width) and features.strides == model.strides
            for stride, level in zip(model.strides, features.maps, strict=False):  # pooled maps have no stride
                assert level.shape[-2:] == tuple(math.ceil(side / stride) for side in features.covered)
            for mode in ("dense", "resized"):
                assert model.decode(features, (53, 11), mode).shape == (1, 4, 53, 11)
            assert model.query(features, torch.rand(1, 7, 2)).shape == (1, 4, 7)


@every_variant
def test_gradients_reach_every_parameter(name, chosen):
    model = small(name, chosen).train()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)  # behind what starts at zero nothing learns in the first step
    without_dropout(model)
    features = model.encode(torch.randn(2, 3, 72, 88))
    loss = model.decode(features).square().sum() + model.query(features, torch.rand(1, 90, 2), "dense").square().sum()
    auxiliary = model.auxiliary_logits(features)
    if auxiliary is not None:
        loss = loss + auxiliary.square().sum()
    loss.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@every_variant
def test_order_of_memory_changes_nothing(name, chosen):
    """Training puts the weights channels last: answers and gradients are the same, but for rounding."""
    model = without_dropout(small(name, chosen).double().train())
    images, points = torch.randn(2, 3, 24, 40, dtype=torch.float64), torch.rand(1, 9, 2)
    found = []
    for network in (copy.deepcopy(model), model.to(memory_format=torch.channels_last)):
        features = network.encode(images)
        values = torch.cat([network.decode(features, (13, 22)).flatten(), network.query(features, points).flatten()])
        values.square().sum().backward()
        found.append([values, *(p.grad for p in network.parameters() if p.grad is not None)])
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)


@every_variant
def test_trains_on_one_image_then_comes_back_from_a_folder(name, chosen, tmp_path):
    model = small(name, chosen).train()
    images = torch.randn(1, 3, 40, 72)
    assert model(images).isfinite().all()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)  # so that a part that is not stored would show
    save_model(model.eval(), tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.config == model.config
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))


@pytest.mark.parametrize("name", list_models())
def test_options_of_another_type_are_refused_in_plain_words(name):
    options = model_options(name)
    backbone = "hrnet_w18_small" if name.startswith("hrnet") else "resnet10t"
    for option in options:
        for wrong in (["a"], {}, math.nan):
            with pytest.raises(ConfigError), torch.device("meta"):
                create_model(name, classes=3, **{"backbone": backbone, option: wrong})
