from __future__ import annotations

from dataclasses import replace

import pytest
import safetensors.torch
import timm
import torch
from timm.data import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from featalign.backbones import Pyramid, normalization_of
from featalign.errors import ConfigError
from featalign.spec import Normalization


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """timm's own weights of two small backbones, in both kinds of files."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name in ("resnet10t", "convnext_atto"):
        state = timm.create_model(name).state_dict()
        torch.save(state, folder / f"{name}.pth")
        safetensors.torch.save_file(state, folder / f"{name}.safetensors")
    return folder


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto"])
def test_file_of_timm_weights(stored, name, kind):
    state = torch.load(stored / f"{name}.pth", weights_only=True)
    pyramid = Pyramid(name, pretrained=str(stored / f"{name}.{kind}"))
    stored_sums = sorted(v.double().sum().item() for v in state.values())
    sums = [v.double().sum().item() for n, v in pyramid.body.state_dict().items() if "num_batches" not in n]
    assert set(sums) <= set(stored_sums)


def test_first_convolution_of_other_channels(stored):
    state = torch.load(stored / "resnet10t.pth", weights_only=True)
    pyramid = Pyramid("resnet10t", in_channels=1, pretrained=str(stored / "resnet10t.pth"))
    torch.testing.assert_close(pyramid.body.conv1[0].weight, state["conv1.0.weight"].sum(1, keepdim=True))


@pytest.mark.parametrize("backbone", ["resnet18", "convnext_pico", "mobilenetv3_small_050"])
def test_weights_of_another_backbone(stored, backbone):
    with pytest.raises(ConfigError, match=rf'resnet10t\.pth: .*backbone "{backbone}".*timm weights of the same'):
        Pyramid(backbone, pretrained=str(stored / "resnet10t.pth"))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_file_that_holds_no_weights(tmp_path, suffix):
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(b"garbage")
    with pytest.raises(ConfigError, match=rf"broken\.{suffix}: not weights of backbone"):
        Pyramid("resnet10t", pretrained=str(path))


class Running:
    """A pickle of it runs code when it is read."""

    def __reduce__(self):
        return print, ("run",)


def test_a_pickle_that_runs_code_is_refused_before_timm_reads_it(tmp_path, monkeypatch, capsys):
    """timm itself read such files whole for long."""
    torch.save({"conv1.weight": Running()}, tmp_path / "running.pth")
    monkeypatch.setattr(
        "featalign.backbones.body.timm.create_model",
        lambda *_, **__: torch.load(tmp_path / "running.pth", weights_only=False),
    )
    for path in (tmp_path / "running.pth", str(tmp_path / "running.pth")):
        with pytest.raises(ConfigError, match=r"running\.pth: not weights of backbone"):
            Pyramid("resnet10t", pretrained=path)
    assert capsys.readouterr().out == ""


def test_missing_file():
    with pytest.raises(ConfigError, match=r"pretrained: no file nowhere\.pth; expected true, false, or the path"):
        Pyramid("resnet10t", pretrained="nowhere.pth")
    with pytest.raises(ConfigError, match=r"pretrained: expected true, false, or the path of .*, got None"):
        Pyramid("resnet10t", pretrained=None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", Normalization()),
        ("resnet50s", Normalization()),
        ("mobilenetv4_conv_small_050", Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))),
        ("convnext_base.clip_laion2b", Normalization(OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)),
    ],
)
def test_images_are_normalized_as_the_weights_expect_it(name, expected):
    assert normalization_of(name, 3, pretrained=True) == expected
    assert normalization_of(name, 3, pretrained="file.pth", depth=16) == replace(expected, scale=65535.0)
    assert normalization_of(name, 3, pretrained=False) == Normalization()
    assert normalization_of(name, 5, pretrained=True) == Normalization.for_channels(5)
