"""Published SFNet weights must give the published outputs, whatever the fixtures' seeds and sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from golden import Fixture, fixtures

from featalign.align.sfnet import AlignedModule, AlignedModuleV2, SFNetHead
from featalign.errors import WeightsError
from featalign.models.published_sfnet import load_sfnet

KINDS = {
    "AlignedModule": AlignedModule,
    "AlignedModulev2": AlignedModuleV2,
    "AlignedModulev2PoolingAtten": AlignedModuleV2,
}


def found(folder: Path, prefix: str) -> list[Fixture]:
    result = fixtures(folder, prefix)
    if not result:
        pytest.skip(f"no fixture {prefix}* in {folder}")
    return result


@pytest.mark.golden
def test_aligned_modules(golden_dir):
    for fixture in found(golden_dir, "sfnet_aligned"):
        module = load_sfnet(fixture.weights)
        assert type(module) is KINDS[fixture.meta["official"]["cls"]]
        for case in (case["case"] for case in fixture.meta["cases"]):
            coarse, fine = fixture.io[f"{case}/in/high"], fixture.io[f"{case}/in/low"]
            with torch.no_grad():
                fixture.compare(module(coarse, fine), f"{case}/out")
                fixture.compare(module.flow(coarse, fine), f"{case}/mid/flow_make")


@pytest.mark.golden
def test_head(golden_dir):
    for fixture in found(golden_dir, "sfnet_head"):
        head = load_sfnet(fixture.weights)
        assert isinstance(head, SFNetHead)
        for case in fixture.meta["cases"]:
            name = case["case"]
            maps = [fixture.io[f"{name}/in/c{i + 1}"] for i in range(len(case["features"]))]
            with torch.no_grad():
                levels = head.fuse(maps)
                fixture.compare(levels[-1], f"{name}/mid/ppm")
                fixture.compare(head.answer(levels), f"{name}/out/logits")
                for i, logits in enumerate(reversed(head.auxiliary_logits(levels))):
                    fixture.compare(logits, f"{name}/out/dsn{i}")


@pytest.mark.golden
def test_manifests_leave_no_key_over(golden_dir):
    manifests = sorted((golden_dir / "state_dict_manifests").glob("sfnet_*head*.json"))
    if not manifests:
        pytest.skip("no SFNet manifest")
    for path in manifests:
        entries = json.loads(path.read_text())["tensors"]
        state = {name: torch.zeros(entry["shape"]) for name, entry in entries.items()}
        head = load_sfnet(state)
        assert len(head.state_dict()) == len(state)
        assert sum(t.numel() for t in head.state_dict().values()) == sum(t.numel() for t in state.values())


def test_other_names_are_not_sfnet():
    assert load_sfnet({"encoder.conv1.weight": torch.zeros(1)}) is None


def test_a_part_that_does_not_fit_is_refused():
    state = {
        "down_h.weight": torch.zeros(2, 4, 1, 1),
        "down_l.weight": torch.zeros(2, 4, 1, 1),
        "flow_make.weight": torch.zeros(2, 4, 3, 3),
    }
    assert isinstance(load_sfnet(state), AlignedModule)
    with pytest.raises(WeightsError, match="do not fit"):
        load_sfnet(state | {"flow_make.weight": torch.zeros(2, 5, 3, 3)})
    with pytest.raises(WeightsError, match="do not fit"):
        load_sfnet(state | {"extra.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r'lack "down_h.weight"'):
        load_sfnet({"flow_make.weight": state["flow_make.weight"]})
