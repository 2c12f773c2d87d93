"""Published weights give the published outputs: every AlignSeg fixture under FEATALIGN_GOLDEN, of any seed and size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from golden import Fixture, digest, fixtures
from torch import Tensor, nn

from featalign.align.alignseg import AlignFA, ResidualConvBlock
from featalign.context.aligncm import AlignCM
from featalign.errors import WeightsError
from featalign.layers import BatchNorm2d
from featalign.models.alignseg import AlignSeg
from featalign.models.published_alignseg import load_alignseg, plain_norms
from featalign.ops.warp import warp


def found(folder: Path, prefix: str) -> list[Fixture]:
    result = fixtures(folder, prefix)
    if not result:
        pytest.skip(f"no fixture {prefix}* in {folder}")
    return result


def compare_if_kept(fixture: Fixture, got: Tensor, key: str) -> None:
    """Large intermediate tensors are left out of some fixtures."""
    if key in fixture.io:
        fixture.compare(got, key)


@pytest.mark.golden
def test_recipe_draws_the_stored_weights(golden_dir):
    for fixture in found(golden_dir, "alignseg_rrb"):
        for name, entry in fixture.meta["weights"]["tensors"].items():
            assert digest(fixture.weights[name]) == entry["sha256"], f"{fixture.folder.name}: {name}"


@pytest.mark.golden
def test_sampling_variants(golden_dir):
    for fixture in found(golden_dir, "alignseg_sampler"):
        for case in (case["case"] for case in fixture.meta["cases"]):
            x, offset = fixture.io[f"{case}/in/x"], fixture.io[f"{case}/in/delta"]
            for sampling in fixture.meta["variants"]:
                fixture.compare(warp(x, offset, sampling=sampling), f"{case}/out/{sampling}")


@pytest.mark.golden
def test_fused_norms_as_plain_ones(golden_dir):
    activations = {
        "leaky_relu": lambda slope: nn.LeakyReLU(slope),
        "elu": lambda alpha: nn.ELU(alpha),
        "identity": lambda _: nn.Identity(),
    }
    for fixture in found(golden_dir, "alignseg_inplace_abn"):
        for case in fixture.meta["cases"]:
            name, ctor = case["case"], case["ctor"]
            state = {n.removeprefix(f"{name}/"): v for n, v in fixture.weights.items() if n.startswith(f"{name}/")}
            eps = ctor.get("eps", 1e-5)
            norm = BatchNorm2d(ctor["num_features"], eps=eps).eval()
            norm.load_state_dict(plain_norms(state, eps=eps))
            activate = activations[ctor.get("activation", "leaky_relu")](ctor.get("activation_param", 0.01))
            with torch.no_grad():
                fixture.compare(activate(norm(fixture.io[f"{name}/in"])), f"{name}/out")
                if ctor.keys() == {"num_features"}:
                    fixture.compare(load_alignseg(state)(fixture.io[f"{name}/in"]), f"{name}/out")


@pytest.mark.golden
def test_align_fa(golden_dir):
    for fixture in found(golden_dir, "alignseg_cab"):
        for sampling in fixture.meta["variants"]:
            align = load_alignseg(fixture.weights, sampling=sampling)
            assert isinstance(align, AlignFA)
            for case in (case["case"] for case in fixture.meta["cases"]):
                with torch.no_grad():
                    got = align(fixture.io[f"{case}/in/high_stage"], fixture.io[f"{case}/in/low_stage"])
                    fixture.compare(got, f"{case}/out/{sampling}")


@pytest.mark.golden
def test_align_cm(golden_dir):
    for fixture in found(golden_dir, "alignseg_cam"):
        for sampling in fixture.meta["variants"]:
            module = load_alignseg(fixture.weights, sampling=sampling)
            assert isinstance(module, AlignCM)
            for case in (case["case"] for case in fixture.meta["cases"]):
                x = fixture.io[f"{case}/in/x"]
                with torch.no_grad():
                    compare_if_kept(fixture, module.context(x), f"{case}/mid/pool")
                    compare_if_kept(fixture, module.local(x), f"{case}/mid/adapt")
                    fixture.compare(module(x), f"{case}/out/{sampling}")


@pytest.mark.golden
def test_residual_block(golden_dir):
    for fixture in found(golden_dir, "alignseg_rrb"):
        block = load_alignseg(fixture.weights)
        assert isinstance(block, ResidualConvBlock)
        for case in (case["case"] for case in fixture.meta["cases"]):
            with torch.no_grad():
                fixture.compare(block(fixture.io[f"{case}/in/x"]), f"{case}/out")


@pytest.mark.golden
def test_whole_network(golden_dir):
    for fixture in found(golden_dir, "alignseg_net"):
        for sampling in fixture.meta["variants"]:
            model = load_alignseg(fixture.weights, sampling=sampling)
            assert isinstance(model, AlignSeg)
            for case in (case["case"] for case in fixture.meta["cases"]):
                with torch.no_grad():
                    maps = model.backbone(fixture.io[f"{case}/in/image"])
                    compare_if_kept(fixture, maps[-1], f"{case}/mid/layer4")
                    passed = model.pathway([*maps, model.context(maps[-1])])
                    fixture.compare(model.head(passed[-1]), f"{case}/out/{sampling}")
                    fixture.compare(model.auxiliary(passed[2]), f"{case}/dsn/{sampling}")


@pytest.mark.golden
def test_encode_and_answer_are_the_published_forward(golden_dir):
    for fixture in found(golden_dir, "alignseg_net"):
        model = load_alignseg(fixture.weights)
        for case in (case["case"] for case in fixture.meta["cases"]):
            with torch.no_grad():
                features = model.encode(fixture.io[f"{case}/in/image"])
                fixture.compare(model.answer_grid(features, None), f"{case}/out/corrected")


@pytest.mark.golden
def test_manifests_leave_no_key_over(golden_dir):
    """Full-size checkpoints: every name and shape is consumed, none is missing."""
    manifests = sorted((golden_dir / "state_dict_manifests").glob("alignseg_*.json"))
    if not manifests:
        pytest.skip("no AlignSeg manifest")
    for path in manifests:
        entries = json.loads(path.read_text())["tensors"]
        rows = entries.items() if isinstance(entries, dict) else ((entry["name"], entry) for entry in entries)
        state = {name: torch.zeros(entry["shape"]) for name, entry in rows}
        model = load_alignseg(state)
        assert len(model.state_dict()) == len(state)
        assert sum(tensor.numel() for tensor in model.state_dict().values()) == sum(t.numel() for t in state.values())
        assert model.config["name"] == "alignseg"


def published_block() -> dict[str, Tensor]:
    """A residual block under its published names."""
    state = {
        "unify.weight": torch.randn(8, 6, 1, 1),
        "residual.0.weight": torch.randn(2, 8, 3, 3),
        "residual.2.weight": torch.randn(8, 2, 3, 3),
    }
    for norm, width in (("residual.1", 2), ("norm", 8)):
        state |= {f"{norm}.{name}": torch.randn(width) for name in ("weight", "bias", "running_mean")}
        state |= {f"{norm}.running_var": torch.ones(width), f"{norm}.num_batches_tracked": torch.tensor(0)}
    return state


def test_scale_is_the_absolute_weight():
    state = published_block()
    block = load_alignseg(state)
    assert torch.allclose(block.norm[0].weight, state["norm.weight"].abs() + 1e-5)
    assert torch.equal(block.norm[0].bias, state["norm.bias"])
    assert torch.equal(block.residual[3].weight, state["residual.2.weight"])


def test_other_families_are_left_alone():
    assert load_alignseg({"imnet.0.weight": torch.zeros(4, 4, 1)}) is None
    assert load_alignseg({"encoder.conv1.weight": torch.zeros(4, 4, 1, 1)}) is None


def test_keys_missing_or_left_over_are_named():
    state = published_block()
    with pytest.raises(WeightsError, match=r"residual\.9\.weight"):
        load_alignseg(state | {"residual.9.weight": torch.zeros(1)})
    del state["residual.2.weight"]
    with pytest.raises(WeightsError, match=r"residual\.3\.weight"):
        load_alignseg(state)
