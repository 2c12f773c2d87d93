"""One tester for every network: any size and channels, gradients everywhere, storage, and refusals."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

import featalign
from featalign.errors import ConfigError, WeightsError
from featalign.models import create_model, list_models, load_model, model_options, save_model
from featalign.models.complexity import complexity

VARIANTS = [
    {"align": "ifa"},
    {"align": "ifa", "blend": "bilinear", "encoding": "fixed"},
    {"align": "bilinear"},
    {"align": "nearest"},
    {"align": "ifa", "aspp": 16, "encoding": "coord"},
]


def small(channels: int = 3, **options: object):
    torch.manual_seed(0)
    chosen = {"backbone": "resnet10t", "width": 16, "hidden": (24, 16), **options}
    return create_model("fpn", classes=4, in_channels=channels, **chosen)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("channels", [1, 5])
def test_odd_sizes_any_channels(options, channels):
    model = small(channels, **options).eval()
    with torch.no_grad():
        for height, width in ((1, 1), (37, 50)):
            images = torch.randn(1, channels, height, width)
            assert model(images).shape == (1, 4, height, width)
            features = model.encode(images)
            assert features.size == (height, width)
            for mode in ("auto", "dense", "resized"):
                assert model.decode(features, (53, 11), mode).shape == (1, 4, 53, 11)
            assert model.query(features, torch.rand(1, 7, 2)).shape == (1, 4, 7)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_gradients_reach_every_parameter(options):
    model = small(**options).train()
    for name, parameter in model.named_parameters():
        if name.endswith("bn3.weight") or name.endswith("bn2.weight"):
            torch.nn.init.ones_(parameter)  # residual branches start at zero, where nothing behind them learns
    features = model.encode(torch.randn(2, 3, 64, 64))
    loss = model.decode(features, mode="resized").square().mean() + model.auxiliary_logits(features).square().mean()
    loss = loss + model.query(features, torch.rand(1, 90, 2), "dense").square().mean()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_dense_answers_are_queries_at_pixel_centres(options):
    model = small(**options).eval()
    with torch.no_grad():
        features = model.encode(torch.randn(1, 3, 40, 56))
        dense = model.decode(features, (29, 31), "dense")
        y, x = torch.meshgrid((torch.arange(29) + 0.5) / 29, (torch.arange(31) + 0.5) / 31, indexing="ij")
        points = model.query(features, torch.stack((x, y), -1)[None], "dense")
    assert torch.allclose(dense, points, atol=1e-3)
    assert (dense.argmax(1) == points.argmax(1)).float().mean() > 0.99


def test_auto_is_what_measurement_chose():
    assert small(align="ifa").auto_mode == "resized"
    assert small(align="ifa", blend="bilinear").auto_mode == "dense"
    assert small(align="bilinear").auto_mode == "resized"


def test_resized_is_the_finest_answer_resized():
    model = small().eval()
    with torch.no_grad():
        features = model.encode(torch.randn(1, 3, 40, 56))
        fine = model.answer_grid(features, None)
        assert fine.shape[-2:] == (16, 16)
        expected = F.interpolate(fine, size=(64, 64), mode="bilinear", align_corners=False)
        assert torch.allclose(model.decode(features, mode="resized"), expected[..., :40, :56], rtol=0, atol=1e-6)


def test_evaluation_is_deterministic_and_training_at_batch_one_works():
    model = small(aspp=16).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(images), model(images))
    model.train()
    assert model(images).isfinite().all()


def test_auxiliary_head_is_for_training_only():
    model = small()
    images = torch.randn(2, 3, 64, 64)
    assert model.auxiliary_logits(model.train().encode(images)).shape == (2, 4, 4, 4)
    assert model.auxiliary_logits(model.eval().encode(images)) is None
    assert small(auxiliary=False).train().encode(images).deep is None


@pytest.mark.parametrize(
    "images", [torch.zeros(3, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)]
)
def test_images_that_are_not_images(images):
    with pytest.raises(ValueError, match=r"expected normalized float images \(B, 3, H, W\)"):
        small().encode(images)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (1, 3, 0, 8), (2, 3, 8, 0)])
@pytest.mark.parametrize("gradients", [True, False])
def test_images_of_nothing(shape, gradients):
    with torch.set_grad_enabled(gradients), pytest.raises(ValueError, match="at least one image of at least one pixel"):
        small().eval()(torch.zeros(shape))


def test_wrong_decode_arguments():
    model = small().eval()
    features = model.encode(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match='did you mean "dense"'):
        model.decode(features, mode="dens")
    with pytest.raises(ConfigError, match="at least"):
        model.decode(features, size=(0, 4))


@pytest.mark.parametrize("size", [(8, 8, 8), 8, (8.0, 5.0), "ab"], ids=str)
def test_sizes_that_are_none(size):
    model = small().eval()
    features = model.encode(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ConfigError, match=r"size must be two whole numbers \(height, width\), got"):
        model.decode(features, size)


@pytest.mark.parametrize("size", [None, (4, 4)])
@pytest.mark.parametrize("box", [(0, 0, 1), (0, 0, 1, math.nan), (0, math.inf, 1, 1), 1, "abcd"], ids=str)
def test_boxes_that_are_none(box, size):
    model = small().eval()
    features = model.encode(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ConfigError, match=r"expected a box \(left, top, right, bottom\) within 0 … 1"):
        model.decode(features, size, box=box)


@pytest.mark.filterwarnings("ignore")  # what a trace freezes
@pytest.mark.parametrize("gradients", [True, False])
def test_a_trace_at_the_images_own_size(gradients):
    model, images = small().eval(), torch.randn(1, 3, 40, 56)
    with torch.set_grad_enabled(gradients):
        traced = torch.jit.trace(model, images, check_trace=False)
        assert torch.allclose(traced(images), model(images), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "fnp"}, 'did you mean "fpn"'),
        ({"widht": 64}, 'no option "widht": did you mean "width"'),
        ({"align": "bilinaer"}, 'did you mean "bilinear"'),
        ({"encoding": "sin"}, 'unknown encoding "sin" for model "fpn": did you mean "sine"'),
        ({"blend": "cubic"}, 'unknown blend "cubic"'),
        ({"align": "carafe", "blend": "nearst"}, 'unknown blend "nearst" for model "fpn": did you mean "nearest"'),
        ({"name": "alignseg", "context": "none", "merge": "bogus"}, "expected one of: concat, sum"),
        ({"align": nn.Conv2d}, 'align of model "fpn" must be one of ifa, .*carafe; got <class'),
        ({"align": None}, "must be one of ifa, .*; got None"),
        ({"name": "semantic_fpn", "align": 3}, "or a factory of your own; got 3"),
        ({"backbone": "timm/resnet10t.c3_in1k"}, r'"timm/resnet10t\.c3_in1k": did you mean "resnet10t"'),
        ({"backbone": "zzzz"}, r"^.{1,700}, … and \d+ more$"),
        ({"width": "a"}, "width must be a positive whole number, got 'a'"),
        ({"name": "semantic_fpn", "width": "a"}, "width must be a positive whole number, got 'a'"),
        ({"name": "semantic_fpn", "extra_convolutions": -1}, "extra_convolutions must be a non-negative whole number"),
        ({"hidden": ()}, r"hidden must be positive whole numbers, at least one, got \(\)"),
        ({"hidden": (8, 0)}, "hidden must be"),
        ({"auxiliary": "no"}, "auxiliary must be true or false, got 'no'"),
        ({"aspp": -1}, "aspp must be a non-negative"),
        ({"in_channels": 0}, "in_channels must be a positive"),
        ({"name": "pspnet", "bins": ()}, "bins must be positive whole numbers"),
        ({"name": "pspnet", "bins": (0,)}, "bins must be positive whole numbers"),
        ({"name": "deeplabv3plus", "dilations": (0,)}, "dilations must be positive whole numbers"),
        ({"classes": []}, "at least 1, got none"),
        ({"classes": "abc"}, "how many there are, or their names; got 'abc'"),
        ({"classes": 2.5}, "how many there are, or their names"),
        ({"width": 0}, "positive"),
        ({"classes": 0}, "at least 1"),
    ],
)
def test_misspelt_options(options, message):
    arguments = {"name": "fpn", "classes": 3, "backbone": "resnet10t", **options}
    with pytest.raises(ConfigError, match=message):
        create_model(**arguments)


def test_a_number_of_classes_of_any_integer_type():
    assert len(create_model("fpn", classes=np.int64(5), backbone="test_resnet", width=8, hidden=(8,)).classes) == 5


def test_names_and_options_are_listed():
    assert "fpn" in list_models()
    assert model_options("fpn")["width"] == 256
    assert small().config["hidden"] == [24, 16]


def test_storage_round_trip(tmp_path):
    model = small(encoding="fixed").eval()
    images = torch.randn(1, 3, 33, 20)
    save_model(model, tmp_path / "run" / "model")
    assert sorted(p.name for p in (tmp_path / "run" / "model").iterdir()) == ["config.json", "model.safetensors"]
    for folder in (tmp_path / "run", tmp_path / "run" / "model"):
        loaded = featalign.load(folder)
        assert not loaded.training and loaded.classes == model.classes and loaded.normalization == model.normalization
        assert torch.equal(loaded(images), model(images))


def test_storage_keeps_names_and_colours(tmp_path):
    classes = featalign.Classes(("road", "sky"), ((1, 2, 3), (4, 5, 6)), 7)
    save_model(create_model("fpn", classes=classes, backbone="resnet10t", width=8, hidden=(8,)), tmp_path)
    assert load_model(tmp_path).classes == classes


def test_broken_model_folders(tmp_path):
    model = small()
    save_model(model, tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="not a complete safetensors file"):
        load_model(tmp_path)
    torch.save(model.state_dict(), weights)
    with pytest.raises(WeightsError, match=r"is a pickle.*convert it"):
        load_model(tmp_path)
    weights.write_bytes(b"\x80" + content[1:8] + b"{" + content[9:])
    with pytest.raises(WeightsError, match="not a complete safetensors file"):  # a length may begin as a pickle does
        load_model(tmp_path)
    weights.unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        load_model(tmp_path)
    safetensors.torch.save_file({"x": torch.zeros(2)}, weights)
    with pytest.raises(WeightsError, match="weights of another model"):
        load_model(tmp_path)
    config.write_text("{")
    with pytest.raises(WeightsError, match="not JSON"):
        load_model(tmp_path)
    config.write_text(json.dumps({"model": {"name": "fpn", "colour": 1}, "classes": []}))
    with pytest.raises(WeightsError, match="does not describe a model"):
        load_model(tmp_path)
    with pytest.raises(WeightsError, match="no such folder"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="holds no model"):
        load_model(tmp_path / "empty")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "recipe.yaml").write_text("")
    with pytest.raises(WeightsError, match="is a training run that has not stored a model yet"):
        load_model(tmp_path / "begun")
    with pytest.raises(WeightsError, match=r"config\.json: is a file; expected a training run or a model folder"):
        load_model(config)


PAPER = [  # IFA Tables 1 and 5 at 1024x1024, 19 classes: parameters in millions and GFLOPs that the architecture gives
    ({"align": "ifa", "backbone": "resnet50s"}, 27.77, 186.84),
    ({"align": "bilinear", "backbone": "resnet50s"}, 27.71, 183.32),
    ({"align": "nearest", "backbone": "resnet50s"}, 27.71, 183.32),
    ({"backbone": "resnet101s", "hidden": (512, 256)}, 46.69, 262.81),
    ({"backbone": "resnet101s", "hidden": (512, 256), "aspp": 256}, 64.32, 281.44),
    ({"backbone": "resnet18s", "hidden": (512, 256), "width": 64}, 12.31, 93.54),
    ({"backbone": "resnet18s", "hidden": (512, 256), "width": 64, "aspp": 256}, 16.81, 98.31),
]


@pytest.mark.parametrize(("options", "parameters", "flops"), PAPER, ids=str)
def test_counts_of_the_papers_tables(options, parameters, flops):
    count = complexity(create_model("fpn", classes=19, ceil_pool=True, **options))
    assert count.training_parameters / 1e6 == pytest.approx(parameters, abs=0.005)
    assert count.papers_flops / 1e9 == pytest.approx(flops, abs=0.01)
    assert count.multiply_adds < count.papers_flops


def test_counted_multiply_adds_are_those_that_run():
    model = small(align="nearest", auxiliary=False).eval()
    count = complexity(model, (64, 64))
    hand = 0
    for level, cells in zip(model.decoder.function.content, (256, 64, 16, 4), strict=True):
        hand += cells * level.weight.numel()
    hand += 256 * sum(m.weight.numel() for m in model.decoder.function.mlp if isinstance(m, torch.nn.Conv2d))
    laterals = [lateral[0].weight.numel() for lateral in model.decoder.laterals]
    hand += sum(cells * weights for cells, weights in zip((256, 64, 16, 4), laterals, strict=True))
    backbone = 0

    def add(module, _, output):
        nonlocal backbone
        backbone += output[0, 0].numel() * module.weight.numel()

    for module in model.backbone.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(add)
    model.backbone(torch.zeros(1, 3, 64, 64))
    assert count.multiply_adds == hand + backbone
