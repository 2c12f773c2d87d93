from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file
from timm.models import adapt_input_conv

from featalign.errors import WeightsError
from featalign.models import Segmentor, create_model, load_published, save_model
from featalign.models.published_alignseg import _NETWORK
from featalign.spec import Classes, Normalization
from featalign.training.start_adapt import class_tensors, other_channels
from featalign.training.start_from import start_from

FIRST = "backbone.body.conv1.0.weight"
CLASSIFIERS = ["auxiliary.4.bias", "auxiliary.4.weight", "decoder.function.mlp.8.bias", "decoder.function.mlp.8.weight"]


def network(classes: object = 3, *, seed: int = 0, **options: object) -> Segmentor:
    torch.manual_seed(seed)
    return create_model("fpn", backbone="resnet10t", width=16, classes=classes, **options)


def outcomes(report, outcome: str) -> list[str]:
    return sorted(tensor.name for tensor in report.tensors if tensor.outcome == outcome)


def same(a: Segmentor, b: Segmentor) -> bool:
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def shown(report) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(report.table())
    return console.file.getvalue()


@pytest.mark.parametrize("where", ["model", "run", "safetensors", "pth", "checkpoint", "wrapped"])
def test_the_same_network_from_everywhere(tmp_path, where):
    source, model = network(), network(seed=1)
    paths = {"model": tmp_path, "run": tmp_path / "run", "safetensors": tmp_path / "a.safetensors"}
    path = paths.get(where, tmp_path / "a.pth")
    if where in ("model", "run"):
        save_model(source, tmp_path if where == "model" else tmp_path / "run" / "model")
    elif where == "safetensors":
        save_file(source.state_dict(), path)
    else:
        state = source.state_dict()
        wrapped = {"wrapped": {"epoch": 3, "state_dict": {f"module.{n}": v for n, v in state.items()}}}
        torch.save(wrapped.get(where, state), path)
    report = start_from(model, path)
    assert same(model, source)
    assert report.count("loaded") == len(report.tensors) == len(model.state_dict())


def test_classes_of_the_same_name_keep_their_rows(tmp_path):
    source, model = network(["road", "sky", "car"]), network(["sky", "tree", "road", "bus"], seed=1)
    fresh = {name: model.state_dict()[name].clone() for name in CLASSIFIERS}
    save_model(source, tmp_path)
    report = start_from(model, tmp_path)
    assert outcomes(report, "adapted") == CLASSIFIERS
    for name in CLASSIFIERS:
        here, there = model.state_dict()[name], source.state_dict()[name]
        assert torch.equal(here[[0, 2]], there[[1, 0]])
        assert torch.equal(here[[1, 3]], fresh[name][[1, 3]])
    assert "2 of 4 classes by name: road, sky" in shown(report)


def test_same_number_of_classes_in_another_order_is_not_mixed_up(tmp_path):
    source, model = network(["road", "sky", "car"]), network(["car", "road", "sky"], seed=1)
    save_model(source, tmp_path)
    start_from(model, tmp_path)
    weight = "decoder.function.mlp.8.weight"
    assert torch.equal(model.state_dict()[weight], source.state_dict()[weight][[2, 0, 1]])


@pytest.mark.parametrize("classes", [["liver", "tumor"], ["a", "b", "c"]])
def test_classes_none_of_which_is_known_start_afresh(tmp_path, classes):
    source, model = network(["road", "sky"]), network(classes, seed=1)
    fresh = {name: model.state_dict()[name].clone() for name in CLASSIFIERS}
    save_model(source, tmp_path)
    report = start_from(model, tmp_path)
    assert outcomes(report, "skipped") == CLASSIFIERS
    assert all(torch.equal(model.state_dict()[name], fresh[name]) for name in CLASSIFIERS)
    assert "none of the same name" in shown(report)


def test_numbered_classes_are_taken_in_their_order(tmp_path):
    source, model = network(2), network(["liver", "tumor"], seed=1)
    save_model(source, tmp_path)
    assert start_from(model, tmp_path).count("loaded") == len(model.state_dict())
    assert same(model, source)


def test_other_number_of_classes_without_names_is_skipped(tmp_path):
    source, model = network(5), network(3, seed=1)
    save_file(source.state_dict(), tmp_path / "a.safetensors")
    report = start_from(model, tmp_path / "a.safetensors")
    assert outcomes(report, "skipped") == CLASSIFIERS
    assert report.count("loaded") == len(model.state_dict()) - 4
    assert "(5, 256, 1, 1) there, (3, 256, 1, 1) here: other classes" in shown(report)


def test_other_network_tells_what_is_missing_and_unused(tmp_path):
    torch.manual_seed(2)
    source = create_model("alignseg", backbone="resnet10t", width=16, classes=3)
    model = network()
    save_model(source, tmp_path)
    report = start_from(model, tmp_path)
    assert all(torch.equal(p, source.backbone.state_dict()[n]) for n, p in model.backbone.state_dict().items())
    assert "decoder.function.position.weight" in outcomes(report, "missing")
    assert any(name.startswith("pathway.") for name in outcomes(report, "unused"))
    content = report.to_json()
    assert json.loads(json.dumps(content))["tensors"][0].keys() == {"name", "outcome", "why", "shape"}
    assert len(report.summary().splitlines()) == 1


def test_weights_of_a_backbone_alone_find_it(tmp_path):
    source, model = network(), network(seed=1)
    body = {**source.backbone.body.state_dict(), "fc.weight": torch.zeros(10, 8), "fc.bias": torch.zeros(10)}
    torch.save(body, tmp_path / "backbone.pth")
    report = start_from(model, tmp_path / "backbone.pth")
    assert same(model.backbone, source.backbone)
    assert outcomes(report, "unused") == ["backbone.body.fc.bias", "backbone.body.fc.weight"]


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_first_convolution_follows_timm(tmp_path, channels):
    source, model = network(), network(seed=1, in_channels=channels)
    save_model(source, tmp_path)
    report = start_from(model, tmp_path)
    assert outcomes(report, "adapted") == [FIRST]
    expected = adapt_input_conv(channels, source.state_dict()[FIRST])
    torch.testing.assert_close(model.state_dict()[FIRST], expected)
    assert f"3 to {channels} image channels" in shown(report)


def test_equal_channels_give_what_they_gave():
    """From four to one, or to a multiple: a grey image in every channel keeps its answer."""
    torch.manual_seed(0)
    weight, grey = torch.randn(6, 4, 3, 3), torch.randn(2, 1, 9, 9)
    expected = torch.nn.functional.conv2d(grey.expand(-1, 4, -1, -1), weight)
    for channels in (1, 4, 8, 12):
        got = torch.nn.functional.conv2d(grey.expand(-1, channels, -1, -1), other_channels(weight, channels))
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_normalization_comes_with_the_weights(tmp_path):
    source, model, deep = network(), network(), network()
    source.normalization = Normalization((0.1, 0.2, 0.3), (0.5,))
    deep.normalization = Normalization.for_channels(3, depth=16)
    save_model(source, tmp_path)
    start_from(model, tmp_path)
    start_from(deep, tmp_path)
    assert model.normalization == source.normalization
    assert deep.normalization == Normalization((0.1, 0.2, 0.3), (0.5,), 65535.0)


def test_weights_that_read_blue_first_are_turned_round(tmp_path, monkeypatch):
    """The answer to an RGB image is the one that the published network gives to the BGR one."""
    published, model = network().eval(), network(seed=1).eval()
    published.normalization = Normalization((0.4, 0.45, 0.5), (0.1, 0.2, 0.3))
    monkeypatch.setattr("featalign.training.start_source.load_published", lambda tensors: published)
    torch.save(published.state_dict(), tmp_path / "a.pth")
    start_from(model, tmp_path / "a.pth")
    images = torch.rand(1, 3, 65, 65)
    assert model.normalization == Normalization((0.5, 0.45, 0.4), (0.3, 0.2, 0.1))
    torch.testing.assert_close(model(images), published(images.flip(1)), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_checkpoint_of_the_published_alignseg(tmp_path):
    torch.manual_seed(0)
    options = {"backbone": "resnet50s", "width": 16, "ceil_pool": True, "align_corners": True}
    original = create_model("alignseg", classes=3, **options)
    ours = {new: old for old, new in _NETWORK.items()}
    state = original.state_dict()
    prefixes = {name: max((new for new in ours if name.startswith(new)), key=len) for name in state}
    renamed = {ours[new] + name.removeprefix(new): state[name] for name, new in prefixes.items()}
    torch.save(renamed, tmp_path / "alignseg.pth")
    published = load_published(tmp_path / "alignseg.pth")
    model = create_model("alignseg", classes=3, **options).eval()
    start_from(model, tmp_path / "alignseg.pth")
    images = torch.rand(1, 3, 65, 65)
    assert model.normalization.mean == published.normalization.mean[::-1]
    torch.testing.assert_close(model(images), published(images.flip(1)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file or folder"),
        (b"garbage", "not an archive of weights alone"),
        ({"something": torch.zeros(3)}, "nothing in it fits this network: its names begin with something"),
        ({"note": "no tensors"}, "holds no tensors"),
    ],
)
def test_what_cannot_be_begun_with(tmp_path, content, message):
    path = tmp_path / "a.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(WeightsError, match=message):
        start_from(network(), path)


def test_classifier_is_found_by_building_it_again():
    assert sorted(class_tensors(network())) == CLASSIFIERS
    assert class_tensors(network(Classes.named(["one"]))) == set(CLASSIFIERS)
    unnamed = network()
    unnamed.config = {}
    assert class_tensors(unnamed) == set()


def test_the_network_is_listed_once_and_not_for_every_tensor(tmp_path, monkeypatch):
    source, model = network(), network(seed=1)
    save_model(source, tmp_path)
    listed, plain = [], Segmentor.state_dict
    monkeypatch.setattr(Segmentor, "state_dict", lambda self, *a, **k: listed.append(self) or plain(self, *a, **k))
    start_from(model, tmp_path)
    assert sum(one is model for one in listed) < 5
