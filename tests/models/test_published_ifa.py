"""Published weights must give the published outputs: every IFA fixture under FEATALIGN_GOLDEN, of any seed and size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from golden import Fixture, digest, fixtures

from featalign.align import PositionEncoding
from featalign.models import load_published
from featalign.ops import grid_queries, pixel_axes, pixel_axis, point_queries

pytestmark = pytest.mark.golden


def found(folder: Path, prefix: str) -> list[Fixture]:
    result = fixtures(folder, prefix)
    if not result:
        pytest.skip(f"no fixture {prefix}* in {folder}")
    return result


def test_recipe_draws_the_stored_weights(golden_dir):
    for fixture in found(golden_dir, "ifa_decoder"):
        for name, entry in fixture.meta["weights"]["tensors"].items():
            assert digest(fixture.weights[name]) == entry["sha256"], f"{fixture.folder.name}: {name}"


def test_nearest_cells_and_relative_coordinates(golden_dir):
    for fixture in found(golden_dir, "ifa_feat"):
        for case in fixture.meta["cases"]:
            if case.get("local"):
                continue
            name, (height, width) = case["case"], case["feature"]
            codes = fixture.io[f"{name}/in/res"]
            queries = grid_queries(*pixel_axes(tuple(case["query"])), [(height, width)])
            free = ~fixture.io[f"{name}/tie_mask"].bool()
            offsets = queries.offsets[0][0, :, 0][queries.phase.flatten()]
            expected = fixture.io[f"{name}/out/rel_coord"]
            assert torch.allclose(offsets[free].expand_as(expected[:, free]), expected[:, free], rtol=0, atol=5e-5)
            picked = codes.flatten(2)[:, :, queries.cells[0].flatten()].transpose(1, 2)
            assert torch.equal(picked[:, free], fixture.io[f"{name}/out/q_feat"][:, free])
            assert int((~free).sum()) == case["exact_ties"]


def test_neighbours_of_the_local_ensemble(golden_dir):
    """The published local=True asks at four shifted copies of each query."""
    for fixture in found(golden_dir, "ifa_feat"):
        for case in (case for case in fixture.meta["cases"] if case.get("local")):
            name, (rows, columns) = case["case"], case["query"]
            codes = fixture.io[f"{name}/in/res"]
            y, x = torch.meshgrid(pixel_axis(rows).centres(), pixel_axis(columns).centres(), indexing="ij")
            grid = torch.stack((x, y), -1).view(1, -1, 2)
            for i, (down, right) in enumerate([(-1, -1), (-1, 1), (1, -1), (1, 1)]):
                step = torch.tensor([right * case["stride"] / columns, down * case["stride"] / rows]) / 2
                shifted = (grid + step + 5e-7).clamp(5e-7, 1 - 5e-7)
                cell = point_queries(shifted, [tuple(case["feature"])]).cells[0].flatten()
                picked = codes.flatten(2)[:, :, cell].transpose(1, 2)
                assert torch.equal(picked, fixture.io[f"{name}/out/q_feat"][i]), f"{name} {i}"


def test_position_encodings(golden_dir):
    for fixture in found(golden_dir, "ifa_pos_encoding"):
        x = fixture.io["in/x"]
        for case in fixture.meta["cases"]:
            name, ctor = case["case"], case["ctor"]
            if "num_pos_feats" in ctor:
                continue  # a vector per row and column of a square grid of at most 100 rows: in no table, not offered
            kind = "learned" if ctor.get("require_grad") else "fixed"
            encoding = PositionEncoding(kind, dims=ctor["out_dim"], octaves=ctor.get("sigma", 6))
            if f"{name}/emb" in fixture.weights:
                encoding.load_state_dict({"frequencies": fixture.weights[f"{name}/emb"]})
            elif f"{name}/emb" in fixture.io:
                assert torch.allclose(encoding.frequencies, fixture.io[f"{name}/emb"], rtol=1e-6)
            codes = encoding(x)[..., 0 if ctor.get("cat_input", True) else 2 :]
            assert torch.allclose(codes, fixture.io[f"{name}/out"], rtol=0, atol=2e-5), name


def test_implicit_function(golden_dir):
    for fixture in found(golden_dir, "ifa_simfpn"):
        function = load_published(fixture.weights)
        levels = [fixture.io[f"in/x{i}"] for i in range(1, 5)]
        with torch.no_grad():
            fixture.compare(function(levels), "out/logits", ties=fixture.io.get("tie_mask"))


def test_decoder(golden_dir):
    for fixture in found(golden_dir, "ifa_decoder"):
        decoder = load_published(fixture.weights)
        for case in (case["case"] for case in fixture.meta["cases"]):
            maps = [fixture.io[f"{case}/in/x{i}"] for i in range(1, 5)]
            with torch.no_grad():
                fixture.compare(decoder(maps), f"{case}/out/logits", ties=fixture.io.get(f"{case}/tie_mask"))


def test_whole_model(golden_dir):
    for fixture in found(golden_dir, "ifa_model"):
        model = load_published(fixture.weights)
        for case in (case["case"] for case in fixture.meta["cases"]):
            image = fixture.io[f"{case}/in/image"]
            with torch.no_grad():
                features = model.encode(image)
                fixture.compare(model.answer_grid(features, None), f"{case}/mid/decoder")
                fixture.compare(model(image), f"{case}/out/pred_head")
                auxiliary = model.auxiliary(model.backbone(image)[2])
                fixture.compare(auxiliary, f"{case}/mid/auxor")


def test_manifests_leave_no_key_over(golden_dir):
    """Full-size checkpoints: every name and shape is consumed, none is missing."""
    manifests = sorted((golden_dir / "state_dict_manifests").glob("ifa_*.json"))
    if not manifests:
        pytest.skip("no IFA manifest")
    for path in manifests:
        entries = json.loads(path.read_text())["tensors"]
        rows = entries.items() if isinstance(entries, dict) else ((entry["name"], entry) for entry in entries)
        state = {f"module.{name}": torch.zeros(entry["shape"]) for name, entry in rows}
        model = load_published({"epoch": 3, "model_state": state})
        assert sum(tensor.numel() for tensor in model.state_dict().values()) == sum(t.numel() for t in state.values())
