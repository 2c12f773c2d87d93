"""Published weights must give the published outputs: each FaPN fixture under FEATALIGN_GOLDEN, of any seed and size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from golden import Fixture, fixtures

from featalign.align.fapn import DeformableConv, FaPNFuse, FeatureSelection
from featalign.errors import WeightsError
from featalign.models.feature_pyramid import FeaturePyramid, Neck
from featalign.models.published_fapn import load_fapn


def found(folder: Path, prefix: str) -> list[Fixture]:
    result = fixtures(folder, prefix)
    if not result:
        pytest.skip(f"no fixture {prefix}* in {folder}")
    return result


def cases(fixture: Fixture) -> list[str]:
    return [case["case"] for case in fixture.meta["cases"]]


@pytest.mark.golden
def test_feature_selection(golden_dir):
    for fixture in found(golden_dir, "fapn_fsm"):
        module = load_fapn(fixture.weights)
        assert isinstance(module, FeatureSelection)
        for case in cases(fixture):
            x = fixture.io[f"{case}/in/x"]
            with torch.no_grad():
                fixture.compare(module.importance(x.mean((2, 3), keepdim=True)), f"{case}/mid/conv_atten")
                fixture.compare(module(x), f"{case}/out")


@pytest.mark.golden
def test_deformable_convolution(golden_dir):
    for fixture in found(golden_dir, "fapn_dcn"):
        module = load_fapn(fixture.weights)
        assert isinstance(module, DeformableConv)
        stride = fixture.meta["ctor"].get("stride", 1)
        module.convolution.stride = module.predict.stride = (stride, stride)
        for case in cases(fixture):
            x = fixture.io[f"{case}/in/x"]
            reference = fixture.io.get(f"{case}/in/offset_feature", x)
            with torch.no_grad():
                offset, mask = module.sampling(reference)
                logits = torch.cat((offset, mask.logit()), 1)
                fixture.compare(logits, f"{case}/mid/conv_offset_mask")
                fixture.compare(module(x, reference), f"{case}/out")


@pytest.mark.golden
def test_fuse(golden_dir):
    for fixture in found(golden_dir, "fapn_align"):
        fuse = load_fapn(fixture.weights)
        assert isinstance(fuse, FaPNFuse)
        for case in cases(fixture):
            coarse, fine = fixture.io[f"{case}/in/feat_s"], fixture.io[f"{case}/in/feat_l"]
            with torch.no_grad():
                reference = fuse.lateral(fine)
                fixture.compare(reference, f"{case}/mid/lateral_conv")
                resized = fuse.enlarge(coarse, reference.shape[-2:])
                compared = fuse.align.compare(torch.cat((reference, resized), 1))
                fixture.compare(compared, f"{case}/mid/offset")
                fixture.compare(fuse.align.deform(resized, compared), f"{case}/mid/dcpack_L2")
                fixture.compare(fuse(coarse, fine), f"{case}/out")


@pytest.mark.golden
def test_pyramid(golden_dir):
    for fixture in found(golden_dir, "fapn_fan"):
        neck = load_fapn(fixture.weights)
        assert isinstance(neck, Neck)
        for case in cases(fixture):
            maps = [fixture.io[f"{case}/in/{name}"] for name in fixture.meta["ctor"]["in_features"]]
            with torch.no_grad():
                compare_levels(fixture, neck(maps), case)


@pytest.mark.golden
def test_backbone(golden_dir):
    for fixture in found(golden_dir, "fapn_backbone"):
        model = load_fapn({f"backbone.{name}": value for name, value in fixture.weights.items()})
        assert isinstance(model, FeaturePyramid)
        for case in cases(fixture):
            image = fixture.io[f"{case}/in/image"]
            with torch.no_grad():
                for name, level in zip(("res2", "res3", "res4", "res5"), model.backbone(image), strict=True):
                    if f"{case}/mid/bottom_up.{name}" in fixture.io:
                        fixture.compare(level, f"{case}/mid/bottom_up.{name}")
                levels = model(image)
            assert list(levels) == ["0", "1", "2", "3", "pool"] and model.out_channels == levels["0"].shape[1]
            compare_levels(fixture, list(levels.values()), case)


def compare_levels(fixture: Fixture, levels: list[torch.Tensor], case: str) -> None:
    """Every level that the fixture holds, p2 first, and no more."""
    assert len(levels) == sum(key.startswith(f"{case}/out/p") for key in fixture.io)
    for i, level in enumerate(levels):
        fixture.compare(level, f"{case}/out/p{i + 2}")


@pytest.mark.golden
def test_manifests_leave_no_key_over(golden_dir):
    """Full-size checkpoints: every name and shape is consumed, none is missing."""
    manifests = sorted((golden_dir / "state_dict_manifests").glob("fapn_*.json"))
    if not manifests:
        pytest.skip("no FaPN manifest")
    for path in manifests:
        entries = json.loads(path.read_text())["tensors"]
        state = {f"backbone.{name}": torch.zeros(entry["shape"]) for name, entry in entries.items()}
        model = load_fapn(state)
        assert len(model.state_dict()) == len(state)
        assert sum(tensor.numel() for tensor in model.state_dict().values()) == sum(t.numel() for t in state.values())
        trained = {name for name, entry in entries.items() if entry["kind"] == "parameter"}
        assert sum(1 for _ in model.parameters()) == len(trained)


def test_other_names_are_not_fapn():
    assert load_fapn({"encoder.conv1.weight": torch.zeros(1)}) is None
    assert load_fapn({"bottom_up.stem.conv1.weight": torch.zeros(64, 3, 7, 7)}) is None


def test_weights_that_do_not_fit_are_refused():
    state = {"conv_atten.weight": torch.zeros(8, 8, 1, 1), "conv.weight": torch.zeros(4, 8, 1, 1)}
    assert isinstance(load_fapn(state), FeatureSelection)
    with pytest.raises(WeightsError, match="extra"):
        load_fapn(state | {"extra.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match="do not fit"):
        load_fapn(state | {"conv_atten.weight": torch.zeros(8, 9, 1, 1)})
    with pytest.raises(WeightsError, match=r"lack 'lateral_conv\.conv\.weight'"):
        load_fapn({"dcpack_L2.weight": torch.zeros(8, 8, 3, 3)})
    with pytest.raises(WeightsError, match="third-stage blocks, got 5"):
        blocks = {f"bottom_up.res4.{i}.conv1.weight": torch.zeros(1) for i in range(5)}
        load_fapn(
            blocks | {"bottom_up.stem.conv1.weight": torch.zeros(1), "fan_align5.weight": torch.zeros(8, 2048, 1, 1)}
        )
    with pytest.raises(WeightsError, match="shapes that do not fit"):
        load_fapn({"conv_offset_mask.weight": torch.zeros(1), "weight": torch.zeros(8)})
