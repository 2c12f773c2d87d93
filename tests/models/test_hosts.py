"""DeepLabV3+, PSPNet, HRNet and HRNet + OCR, with their own up-sampling and with an implicit function in its place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from featalign.errors import ConfigError
from featalign.models.complexity import complexity
from featalign.models.deeplab import deeplabv3plus
from featalign.models.hrnet import HRNetOCR, hrnet, hrnet_ocr
from featalign.models.implicit import LogitMap
from featalign.models.pspnet import pspnet
from featalign.models.segmentor import Segmentor
from featalign.ops.sampling import sample_at
from featalign.spec import Classes

BUILDERS: dict[str, tuple[Callable[..., Segmentor], dict[str, Any]]] = {
    "deeplabv3plus": (deeplabv3plus, {"backbone": "resnet10t", "width": 16, "detail": 6}),
    "pspnet": (pspnet, {"backbone": "resnet10t", "width": 16}),
    "hrnet": (hrnet, {"backbone": "hrnet_w18_small"}),
    "hrnet_ocr": (hrnet_ocr, {"backbone": "hrnet_w18_small", "width": 16, "keys": 8}),
}
STRIDES = {"deeplabv3plus": (4, 32), "pspnet": (8,), "hrnet": (4, 8, 16, 32), "hrnet_ocr": (4, 4, 8, 16, 32)}
HOSTS = [(name, align) for name in BUILDERS for align in ("ifa", "bilinear")]
every_host = pytest.mark.parametrize(("name", "align"), HOSTS)


def small(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    builder, chosen = BUILDERS[name]
    return builder(Classes.numbered(4), **({"hidden": (24, 16)} | chosen | options))


@every_host
@pytest.mark.parametrize("channels", [1, 5])
def test_odd_sizes_any_channels(name, align, channels):
    model = small(name, align=align, in_channels=channels).eval()
    assert model.strides == (STRIDES[name] if align == "ifa" else STRIDES[name][:1])
    with torch.no_grad():
        for height, width in ((1, 1), (37, 50)):
            images = torch.randn(1, channels, height, width)
            logits = model(images)
            assert logits.shape == (1, 4, height, width) and torch.equal(logits, model(images))
            features = model.encode(images)
            assert features.size == (height, width) and features.strides == model.strides
            finest = tuple(math.ceil(side / model.strides[0]) for side in features.covered)
            assert model.answer_grid(features, None).shape == (1, 4, *finest)
            for mode in ("dense", "resized"):
                assert model.decode(features, (53, 11), mode).shape == (1, 4, 53, 11)
            assert model.query(features, torch.rand(1, 7, 2)).shape == (1, 4, 7)
            assert model.auxiliary_logits(features) is None


@every_host
def test_gradients_reach_every_parameter(name, align):
    model = small(name, align=align).train()
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith(("bn3.weight", "bn2.weight")):
            nn.init.ones_(parameter)  # residual branches start at zero, where nothing behind them learns
    for module in model.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0  # a dropped channel has no gradient
    features = model.encode(torch.randn(2, 3, 96, 96))
    loss = model.decode(features, mode="resized").square().mean() + model.auxiliary_logits(features).square().mean()
    loss = loss + model.query(features, torch.rand(1, 90, 2), "dense").square().mean()
    loss.backward()
    untouched = []
    for parameter_name, parameter in model.named_parameters():
        if parameter.grad is None or not parameter.grad.abs().sum() > 0:
            untouched.append(parameter_name)
    assert not untouched


@every_host
def test_dense_answers_are_queries_at_pixel_centres(name, align):
    model = small(name, align=align).eval()
    with torch.no_grad():
        features = model.encode(torch.randn(2, 3, 40, 56))
        dense = model.decode(features, (29, 31), "dense")
        y, x = torch.meshgrid((torch.arange(29) + 0.5) / 29, (torch.arange(31) + 0.5) / 31, indexing="ij")
        points = model.query(features, torch.stack((x, y), -1)[None], "dense")
    assert dense.shape == points.shape == (2, 4, 29, 31)
    close = torch.isclose(dense, points, atol=1e-3).all(1)
    assert close.float().mean() > 0.99  # a point on the border of two cells may round to either


@every_host
def test_batch_of_one_trains(name, align):
    model = small(name, align=align).train()
    features = model.encode(torch.randn(1, 3, 64, 64))
    assert model.decode(features).isfinite().all() and model.auxiliary_logits(features).isfinite().all()


@every_host
def test_auxiliary_answers_can_be_left_out(name, align):
    model = small(name, align=align, auxiliary=False).train()
    features = model.encode(torch.randn(2, 3, 64, 64))
    assert features.deep is None and model.auxiliary_logits(features) is None


def test_deeplab_is_its_figure():
    model = small("deeplabv3plus", align="bilinear", output_stride=16).eval()
    images = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        c2, _, _, c5 = model.backbone(images)
        coarse = F.interpolate(model.context(c5), size=c2.shape[-2:], mode="bilinear", align_corners=False)
        joined = model.join[2](model.join[1](torch.cat((model.detail(c2), coarse), 1)))
        logits = model.decoder.classify(joined)
        expected = F.interpolate(logits, size=(96, 64), mode="bilinear", align_corners=False)
        assert c5.shape[-2:] == (6, 4) and model.detail(c2).shape[1] == 6
        assert torch.allclose(model(images), expected, atol=1e-5)


def test_pspnet_is_its_figure():
    own, ifa = (small("pspnet", align=align).eval() for align in ("bilinear", "ifa"))
    images = torch.randn(1, 3, 72, 48)
    with torch.no_grad():
        c5 = own.backbone(images)[-1]
        assert c5.shape[-2:] == (9, 6)
        expected = own.decoder.classify(own.pooling(c5))
        assert torch.allclose(own.answer_grid(own.encode(images), None), expected, atol=1e-5)
        levels = ifa.encode(images).maps
        assert [tuple(level.shape[1:]) for level in levels] == [(512, 9, 6), *((128, b, b) for b in (6, 3, 2, 1))]
        means = ifa.backbone(images)[-1].mean((2, 3), keepdim=True)
        assert torch.allclose(levels[-1], ifa.pooling.branches[0](means), atol=1e-5)


def test_hrnet_is_its_figure():
    model = small("hrnet", align="bilinear").eval()
    images = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        branches = model.backbone(images)
        spread = [F.interpolate(b, size=(24, 16), mode="bilinear", align_corners=False) for b in branches]
        (joined,) = model.encode(images).maps
        assert torch.allclose(joined, model.join[1](torch.cat(spread, 1)), atol=1e-5)
    assert joined.shape[1] == sum(model.backbone.channels)


@pytest.mark.parametrize("align", ["ifa", "bilinear"])
def test_soft_regions_are_the_auxiliary_answer(align):
    model = small("hrnet_ocr", align=align)
    assert isinstance(model, HRNetOCR)
    regions = model.train().auxiliary_logits(model.encode(torch.randn(2, 3, 64, 64)))
    assert regions.shape == (2, 4, 16, 16) and regions.requires_grad


def test_ocr_asks_object_context_and_branches():
    own, ifa = (small("hrnet_ocr", align=align).eval() for align in ("bilinear", "ifa"))
    images = torch.randn(1, 3, 96, 64)
    ifa.backbone.load_state_dict(own.backbone.state_dict())
    ifa.context.load_state_dict(own.context.state_dict(), strict=False)  # all but the merge
    with torch.no_grad():
        branches = own.backbone(images)
        spread = [F.interpolate(b, size=(24, 16), mode="bilinear", align_corners=False) for b in branches]
        joined = torch.cat(spread, 1)
        (merged,) = own.encode(images).maps
        assert torch.allclose(merged, own.context(joined), atol=1e-5)
        context, *asked = ifa.encode(images).maps
        assert context.shape == (1, 16, 24, 16)
        pixels = ifa.context.pixels(joined)
        assert torch.allclose(merged, own.context.merge(torch.cat((context, pixels), 1)), atol=1e-5)
        assert all(torch.equal(level, branch) for level, branch in zip(asked, branches, strict=True))


@pytest.mark.parametrize("extra, strides", [(2, (4, 64)), (4, (4, 128))])
@pytest.mark.parametrize("align", ["ifa", "bilinear"])
def test_deeplab_at_larger_strides(align, extra, strides):
    model = small("deeplabv3plus", align=align, extra_stride=extra).eval()
    images = torch.randn(1, 3, 130, 190)
    with torch.no_grad():
        levels, _ = model.levels(model.backbone(images))
        for level, stride in zip(levels, strides, strict=True):
            assert level.shape[-2:] == (math.ceil(130 / stride), math.ceil(190 / stride))
        assert model(images).shape == (1, 4, 130, 190)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("deeplabv3plus", {"align": "bilinaer"}, 'for deeplabv3plus: did you mean "bilinear"'),
        ("pspnet", {"align": "nearest"}, "for pspnet"),
        ("hrnet", {"align": "ifs"}, 'for hrnet: did you mean "ifa"'),
        ("hrnet_ocr", {"align": "ifs"}, "for hrnet_ocr"),
        ("hrnet", {"encoding": "sin"}, 'encoding "sin" for hrnet: did you mean "sine"'),
        ("pspnet", {"align": "bilinear", "blend": "nearst"}, 'blend "nearst" for pspnet: did you mean "nearest"'),
        ("deeplabv3plus", {"align": "bilinear", "frequencies": "papr"}, 'for deeplabv3plus: did you mean "paper"'),
        ("deeplabv3plus", {"output_stride": 4}, "one of 8, 16, 32"),
        ("deeplabv3plus", {"output_stride": 8, "extra_stride": 2}, "choose one of the two"),
        ("deeplabv3plus", {"extra_stride": 0}, "positive whole number"),
        ("deeplabv3plus", {"backbone": "hrnet_w18_small", "extra_stride": 2}, "does not run stage by stage"),
        ("pspnet", {"backbone": "hrnet_w18_small"}, "cannot be dilated to output_stride 8; use output_stride=32"),
    ],
)
def test_refusals_say_what_to_do(name, options, message):
    with pytest.raises(ConfigError, match=message):
        small(name, **options)


def test_classifying_commutes_with_reading():
    torch.manual_seed(0)
    decoder = LogitMap(5, 3).double()
    maps, points = torch.randn(2, 5, 4, 6, dtype=torch.float64), torch.rand(2, 3, 7, 2, dtype=torch.float64)
    features = sample_at(maps, points)
    assert torch.allclose(sample_at(decoder([maps]), points), decoder.classify(features), atol=1e-12)


KNOWN = [  # parameters in millions and GFLOPs at 1024x1024, 19 classes, auxiliary head included
    (pspnet, {"backbone": "resnet101s", "ceil_pool": True}, 68.1, 1104.4),  # IFA Table 5
    (hrnet, {"backbone": "hrnet_w48", "auxiliary": False}, 65.9, 747.3 / 2),  # as built, not published
]


@pytest.mark.parametrize(("builder", "options", "parameters", "flops"), KNOWN)
def test_counts_are_held(builder, options, parameters, flops):
    with torch.device("meta"):
        count = complexity(builder(Classes.numbered(19), align="bilinear", **options))
    assert count.training_parameters / 1e6 == pytest.approx(parameters, abs=0.05)
    counted = count.papers_flops if builder is pspnet else count.multiply_adds
    assert counted / 1e9 == pytest.approx(flops, rel=1e-3)
