"""One door for every published checkpoint: the right family, unwrapped, and stored again as a model folder."""

from __future__ import annotations

import json

import pytest
import torch
from golden import fixtures

from featalign.align.alignseg import AlignFA
from featalign.align.fapn import FeatureSelection
from featalign.errors import ConfigError, WeightsError
from featalign.models import Segmentor, load_model, load_published, save_model
from featalign.models.published_alignseg import load_alignseg
from featalign.models.published_fapn import load_fapn
from featalign.models.published_sfnet import load_sfnet

LOADERS = {"alignseg": load_alignseg, "fapn": load_fapn, "sfnet": load_sfnet}
SELECTION = {"conv_atten.weight": torch.ones(8, 8, 1, 1), "conv.weight": torch.ones(4, 8, 1, 1)}  # FaPN's smallest part


@pytest.mark.golden
@pytest.mark.parametrize("family", LOADERS)
def test_every_family_enters_by_the_same_door(family, golden_dir):
    seen = 0
    for fixture in fixtures(golden_dir, family):
        own = LOADERS[family](fixture.weights) if "weights" in fixture.meta else None
        if own is None:
            continue  # a fixture of functions, or of several small modules at once
        module = load_published({"state_dict": fixture.weights})
        assert type(module) is type(own) and not module.training
        for name, tensor in own.state_dict().items():
            assert torch.equal(module.state_dict()[name], tensor), f"{fixture.folder.name}: {name}"
        seen += 1
    if not seen:
        pytest.skip(f"no {family} fixture in {golden_dir}")


@pytest.mark.golden
def test_full_size_checkpoints_leave_no_key_over(golden_dir, tmp_path):
    manifests = sorted((golden_dir / "state_dict_manifests").glob("*.json"))
    if not manifests:
        pytest.skip(f"no manifest in {golden_dir}")
    for path in manifests:
        entries = json.loads(path.read_text())["tensors"]
        rows = entries.items() if isinstance(entries, dict) else ((entry["name"], entry) for entry in entries)
        state = {name: torch.zeros(entry["shape"]) for name, entry in rows}
        module = load_published({"model": state})
        assert sum(tensor.numel() for tensor in module.state_dict().values()) == sum(t.numel() for t in state.values())


@pytest.mark.golden
def test_a_whole_network_becomes_a_model_folder(golden_dir, tmp_path):
    found = fixtures(golden_dir, "ifa_model")
    if not found:
        pytest.skip(f"no whole IFA network in {golden_dir}")
    model = load_published(found[0].weights)
    assert isinstance(model, Segmentor)
    save_model(model, tmp_path)
    images = torch.randn(1, model.in_channels, 40, 56)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path)(images), model(images))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "iteration": 7},
        lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {"model_state": state, "best_iou": 0.5},
        lambda state: {"epoch": 1, "model": {"state_dict": state}},
    ],
)
def test_wrappers_of_training_code_come_off(wrap, tmp_path):
    torch.save(wrap(SELECTION), tmp_path / "checkpoint.pth")
    for source in (wrap(SELECTION), tmp_path / "checkpoint.pth"):
        module = load_published(source)
        assert isinstance(module, FeatureSelection)
        assert torch.equal(module.importance[0].weight, SELECTION["conv_atten.weight"])


def test_sampling_reaches_alignsegs_modules():
    published = {}
    for branch in ("delta_gen1", "delta_gen2"):
        published |= {f"{branch}.0.weight": torch.zeros(8, 16, 1, 1), f"{branch}.2.weight": torch.zeros(2, 8, 3, 3)}
        norm = {name: torch.ones(8) for name in ("weight", "bias", "running_mean", "running_var")}
        published |= {f"{branch}.1.{name}": value for name, value in norm.items()}
        published[f"{branch}.1.num_batches_tracked"] = torch.tensor(0)
    assert load_published(published).sampling == "corrected"
    module = load_published(published, sampling="initial")
    assert isinstance(module, AlignFA) and module.sampling == "initial"
    with pytest.raises(ConfigError, match='did you mean "initial"'):
        load_published(published, sampling="inital")


def test_weights_of_nothing_known():
    with pytest.raises(WeightsError, match="no published model known here"):
        load_published({"classifier.weight": torch.zeros(3)})
    with pytest.raises(WeightsError, match="holds no tensors"):
        load_published({"model": {}})
    with pytest.raises(WeightsError, match=r"do not fit: .* is missing") as caught:
        load_published({"unify.weight": torch.zeros(8, 4, 1, 1)})
    assert "\n" not in str(caught.value)
