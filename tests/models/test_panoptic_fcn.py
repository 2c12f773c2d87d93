"""Panoptic FCN: its targets by hand, what it learns and answers, and that a folder gives the same one back."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from featalign.data.objects import panoptic_target
from featalign.errors import ConfigError
from featalign.metrics import PanopticQuality
from featalign.models import Detector, create_detector, load_detector, save_detector
from featalign.models.panoptic_fcn_fusion import Found, fuse_classes, fuse_similar, peaks, region_kernels
from featalign.models.panoptic_fcn_heads import with_coordinates
from featalign.models.panoptic_fcn_losses import chosen_positions, dice, position_losses
from featalign.models.panoptic_fcn_targets import Frame, SceneTarget, heatmap, radius, scene_target

PAGE = Path(__file__).parents[2] / "docs" / "pyramid.md"
CLASSES = ["sky", "cat", "road", "car"]
THINGS = [1, 3]
STUFF_CHANNELS = torch.tensor([1, 0, 2, 0])


def small(**options) -> Detector:
    torch.manual_seed(0)
    chosen = {"backbone": "resnet10t", "width": 64, "min_size": None, "classes": CLASSES, "things": [3, 1]}
    return create_detector("panoptic_fcn", **chosen | options)


def sample(height: int = 64, width: int = 96, *, labels=(0, 2, 1, 3), crowd=(), channels: int = 3):
    """Sky above road, void at the right; a cat and a car, in colours of their own; with fewer labels, fewer of them."""
    segments = torch.zeros(height, width, dtype=torch.int64)
    areas = [(slice(0, 32), slice(0, 88)), (slice(32, 64), slice(0, 88)), (slice(8, 40), slice(8, 40))]
    areas.append((slice(36, 60), slice(48, 80)))
    colours = torch.randint(0, 256, (len(labels) + 1, 3), generator=torch.Generator().manual_seed(1))
    for number, area in enumerate(areas[: len(labels)], 1):
        segments[area] = number
    return {
        "image": colours[segments].permute(2, 0, 1)[:channels].to(torch.uint8),
        "segments": segments,
        "numbers": torch.arange(1, len(labels) + 1),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "crowd": torch.tensor([number in crowd for number in range(1, len(labels) + 1)], dtype=torch.bool),
        "image_id": 1,
        "name": "drawn",
    }


def targets(model: Detector, *samples) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    return [one["image"] for one in samples], [panoptic_target(one, model.things) for one in samples]


def scene(drawn, canvas=(64, 96)) -> SceneTarget:
    """Its target where nothing is resized; the canvas may be larger."""
    target = panoptic_target(drawn, THINGS)
    target["labels"] = torch.tensor([1, 2])[(target["labels"] == 4).long()]
    stages = [(math.ceil(canvas[0] / stride), math.ceil(canvas[1] / stride)) for stride in (8, 16, 32, 64, 128)]
    shown = tuple(drawn["segments"].shape)
    return scene_target(target, Frame(shown, canvas, (canvas[0] // 4, canvas[1] // 4), stages), STUFF_CHANNELS, 2)


def test_masks_and_regions_are_shares_of_cells():
    found = scene(sample(), canvas=(96, 128))
    assert found.masks.shape == (2, 24, 32) and found.channels.tolist() == [0, 1]
    cat = torch.zeros(24, 32)
    cat[2:10, 2:10] = 1
    assert ((found.masks[0] > 0.5) == (cat > 0)).all() and found.masks[0, 4:8, 4:8].eq(1).all()
    assert not found.masks[:, 16:].any() and not found.masks[..., 24:].any()  # beyond the image there is nothing
    assert found.stuff.shape == (3, 24, 32)
    assert found.stuff[:, 3, 12].tolist() == [0, 1, 0] and found.stuff[:, 12, 3].tolist() == [0, 0, 1]
    assert found.stuff[:, 5, 5].tolist() == [1, 0, 0] and not found.stuff[:, :, 23:].any()  # a thing; void
    regions = found.stages[0].regions
    assert set((regions > 0).sum(0).unique().tolist()) <= {0, 1, 2} and not ((regions > 0) & (regions < 0.5)).any()


def test_coordinates_are_rounded_once():
    exact = with_coordinates(torch.zeros(1, 1, 200, 334))
    rough = with_coordinates(torch.zeros(1, 1, 200, 334, dtype=torch.bfloat16))
    assert torch.equal(rough, exact.bfloat16())


def test_objects_lie_at_the_stages_of_their_size_and_at_their_centre_of_mass():
    found = scene(sample())
    cat, car = math.sqrt(32 * 32), math.sqrt(24 * 32)
    assert (cat, round(car)) == (32, 28)
    assert [stage.objects.tolist() for stage in found.stages] == [[0, 1], [0], [], [], []]
    fine, coarse = found.stages[:2]
    assert fine.centres.shape == (2, 8, 12) and fine.counted.all()
    assert fine.centres[0, 3, 3] == 1 and fine.centres[1, 6, 8] == 1  # (24, 24) and (48, 64) in cells of 8 pixels
    assert (fine.centres == 1).sum() == 2 and (coarse.centres == 1).nonzero().tolist() == [[0, 1, 1]]
    assert fine.near[0, 3, 3] and not fine.near[0, :, 6:].any()


def test_a_heat_map_by_hand():
    side = torch.tensor([[20.0, 20.0]])
    reach = 2 * 20 * (math.sqrt(0.7) - 0.7)  # of a square: the published root
    torch.testing.assert_close(radius(side), torch.tensor([reach]))
    assert int(reach) == 5
    heat = heatmap(torch.tensor([[2, 6]]), side, torch.tensor([1]), 2, (9, 16))
    assert not heat[0].any() and heat[1, 2, 6] == 1
    torch.testing.assert_close(heat[1, 4, 7], torch.tensor(math.exp(-5 / (2 * (11 / 3) ** 2))))
    assert heat[1, 2, 11] > 0 and heat[1, 2, 12] == 0 and heat[1, 8].eq(0).all()
    twice = heatmap(torch.tensor([[2, 6], [2, 8]]), side.expand(2, 2), torch.tensor([1, 1]), 2, (9, 16))
    assert twice[1, 2, 6] == twice[1, 2, 8] == 1 and twice[1, 2, 7] == heat[1, 2, 7]


def test_crowds_are_no_objects_and_their_cells_do_not_count():
    found = scene(sample(crowd=(3,)))
    assert found.channels.tolist() == [1] and not found.stages[0].centres[0].any()
    assert found.stuff[0, 5, 5] == 1  # though "a thing"
    counted = found.stages[0].counted
    assert not counted[0, 2, 2] and counted[0, :, 6:].all() and counted[1].all()
    logits = [torch.zeros(1, 2, *stage.centres.shape[1:]) for stage in found.stages]
    regions = [torch.zeros(1, 3, *stage.centres.shape[1:]) for stage in found.stages]
    before, _ = position_losses(logits, regions, [found])
    logits[0][0, 0, 2, 2] = 9.0
    assert position_losses(logits, regions, [found])[0] == before
    logits[0][0, 1, 2, 2] = 9.0
    assert position_losses(logits, regions, [found])[0] > before


def test_an_object_is_learnt_at_its_surest_positions():
    target = scene(sample()).stages[0]
    centres = torch.full((2, 8, 12), -9.0)
    inside = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (4, 4), (3, 2)]
    for value, (row, column) in enumerate(inside):
        centres[0, row, column] = value
    centres[0, 7, 11] = 20.0  # sure, but elsewhere
    cells, weights = chosen_positions(centres, target, torch.tensor([0, 1]))
    assert cells.shape == weights.shape == (2, 7)
    assert set(cells[0].tolist()) == {row * 12 + column for row, column in inside}
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    sureness = torch.arange(6.0, -1.0, -1.0).sigmoid()
    torch.testing.assert_close(weights[0], sureness / sureness.sum())


def test_dice_by_hand():
    logits = torch.tensor([[0.0, 0.0], [40.0, -40.0]])
    truth = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(dice(logits, truth), torch.tensor([1 - 1 / 1.5, 0.0]))


def test_peaks_are_where_no_neighbour_has_more():
    centres = torch.full((2, 6, 6), -20.0)
    centres[1, 2, 3] = centres[0, 5, 0] = 20.0
    centres[1, 2, 4] = 1.0
    kernels = torch.arange(72.0).reshape(2, 6, 6)
    found = peaks(centres, kernels, window=3, least=0.05, most=10)
    assert found.channels.tolist() == [1, 0]
    torch.testing.assert_close(found.kernels, torch.stack((kernels[:, 2, 3], kernels[:, 5, 0])))
    expected = torch.tensor([(1 + (1 + torch.tensor(1.0).sigmoid()) / 9) / 2, (1 + 1 / 9) / 2])
    torch.testing.assert_close(found.scores, expected)
    assert len(peaks(centres, kernels, window=3, least=0.05, most=1).scores) == 1


def test_fusion_merges_what_is_alike_and_of_one_class():
    kernels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 0.1], [1.0, 0.0], [1.0, 0.1]])
    found = Found(kernels, torch.tensor([0, 0, 0, 1, 0]), torch.tensor([0.6, 0.5, 0.9, 0.7, 0.2]))
    fused = fuse_similar(found, similarity=0.9)
    assert fused.channels.tolist() == [0, 1, 0]
    torch.testing.assert_close(fused.scores, torch.tensor([0.9, 0.7, 0.5]))
    torch.testing.assert_close(fused.kernels, torch.tensor([[5 / 3, 0.2 / 3], [1.0, 0.0], [0.0, 1.0]]))
    assert len(fuse_similar(found, similarity=1.1).scores) == 5
    nothing = fuse_similar(Found(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), torch.zeros(0)), similarity=0.9)
    assert len(nothing.kernels) == 0


def test_regions_give_one_kernel_for_each_class():
    regions = torch.full((3, 2, 2), -20.0)
    regions[0, 0, 0], regions[2, 0, 1], regions[2, 1], regions[1, 1, 1] = 0.0, 20.0, 20.0, -15.0
    kernels = torch.tensor([[[1.0, 2.0], [3.0, 7.0]]])
    found = region_kernels(regions, kernels, least=0.05)
    assert found.channels.tolist() == [0, 2]
    torch.testing.assert_close(found.kernels, torch.tensor([[1.0], [4.0]]))
    torch.testing.assert_close(found.scores, torch.tensor([0.5, 1.0]))
    assert region_kernels(regions, kernels, least=0.6).channels.tolist() == [2]
    twice = Found(torch.tensor([[1.0], [4.0], [6.0]]), torch.tensor([0, 2, 2]), torch.tensor([0.5, 1.0, 0.8]))
    fused = fuse_classes(twice)
    assert fused.channels.tolist() == [0, 2]
    torch.testing.assert_close(fused.kernels, torch.tensor([[1.0], [5.0]]))
    torch.testing.assert_close(fused.scores, torch.tensor([0.5, 0.9]))


@pytest.mark.parametrize(("fuse", "channels"), [("add", 1), ("fapn", 3)])
def test_training_and_storage(fuse: str, channels: int, tmp_path):
    model = small(fuse=fuse, in_channels=channels, detections=20)
    images, truths = targets(model, sample(channels=channels), sample(70, 94, labels=(0, 2), channels=channels))
    losses = model(images, truths)
    assert set(losses) == {"loss_centres", "loss_regions", "loss_things", "loss_stuff"}
    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    save_detector(model, tmp_path)
    loaded = load_detector(tmp_path)
    assert loaded.things == (1, 3) and loaded.config == model.config and loaded.network.detections == 20
    with torch.no_grad():
        for ours, theirs, image in zip(model.eval()(images), loaded(images), images, strict=True):
            assert ours["segments"].shape == image.shape[1:] and ours["segments"].dtype == torch.int64
            assert ours["segments"].max() == len(ours["segment_labels"]) == len(ours["segment_scores"]) > 0
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    "rare",
    [
        sample(labels=()),
        sample(labels=(0, 2)),
        sample(labels=(1, 3), crowd=(1, 2)),
        sample(labels=(1, 3)),
        sample(32, 48, labels=(0,)),
    ],
    ids=["void alone", "stuff alone", "crowds alone", "things alone", "stages of one cell"],
)
def test_images_that_lack_something_train_every_parameter(rare):
    model = small(width=96)
    losses = model(*targets(model, rare))
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    assert (losses["loss_things"] == 0) == (bool(rare["crowd"].any()) or 1 not in rare["labels"])
    assert (losses["loss_stuff"] == 0) == (len(rare["labels"]) == 0)


def test_loss_weights_count():
    model = small()
    images, truths = targets(model, sample())
    once = model(images, truths)
    model.network.position_weight, model.network.mask_weight = 2.0, 1.5
    for name, loss in model(images, truths).items():
        weight = 2.0 if name in ("loss_centres", "loss_regions") else 0.5
        torch.testing.assert_close(loss, once[name] * weight)


def test_a_drawn_scene_is_learnt_by_heart():
    model = small(fuse="fapn", min_size=64, max_size=96)
    drawn = sample()
    images, truths = targets(model, drawn)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    costs = []
    for _ in range(40):
        loss = sum(model(images, truths).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        costs.append(loss.item())
    assert np.mean(costs[-5:]) < 0.3 * np.mean(costs[:5])
    with torch.no_grad():
        (answer,) = model.eval()(images)
    quality = PanopticQuality(len(CLASSES), model.things)
    found = dict(enumerate(answer["segment_labels"].tolist(), 1))
    true = dict(zip(drawn["numbers"].tolist(), drawn["labels"].tolist(), strict=True))
    quality.update(answer["segments"], found, drawn["segments"], true)
    assert quality.scores().all.pq > 0.9


def test_nothing_is_found_where_no_position_is_sure():
    model = small().eval()
    for layer in (model.network.positions.centres, model.network.positions.regions):
        torch.nn.init.constant_(layer.bias, -20.0)
    with torch.no_grad():
        (answer,) = model([sample(45, 63, labels=())["image"]])
    assert answer["segments"].shape == (45, 63) and not answer["segments"].any()
    assert len(answer["segment_labels"]) == len(answer["segment_scores"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"things": None}, '"panoptic_fcn" needs things'),
        ({"things": [0, 1, 2, 3]}, "panoptic_fcn needs things and stuff, got 4 and 0 classes"),
        ({"anchors": (8, 16, 32, 64, 128)}, '"panoptic_fcn" looks for objects without anchors'),
        ({"point_head": True}, '"panoptic_fcn" has no masks for a point_head to draw'),
        ({"width": 32}, "needs a width of 64, 96, …, got 32"),
        ({"width": 72}, "needs a width of 64, 96, …, got 72"),
    ],
)
def test_options_of_others_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        small(**options)


def test_wrong_targets_are_refused():
    model = small()
    images, truths = targets(model, sample())
    with pytest.raises(ValueError, match="expected one for each image"):
        model(images)
    with pytest.raises(ValueError, match="not all of them things"):
        model(images, [{**truths[0], "labels": torch.tensor([1, 2])}])
    with pytest.raises(ValueError, match="expected those of panoptic_target"):
        model(images, [{**truths[0], "semantic": torch.zeros(4, 4)}])


def test_the_pages_counts():
    section = PAGE.read_text(encoding="utf-8").split("## Panoptic FCN")[1].split("\n## ")[0]
    rows = re.findall(r"^\|[^|]*\| `(\w+)`[^|]*\| ([\d.]+) \|$", section, re.M)
    expected = [(depth, fuse) for depth in (50, 101) for fuse in ("add", "fapn", "alignfa")]
    for (named, number), (depth, fuse) in zip(rows, expected, strict=True):
        options = {"fuse": fuse, "backbone": f"resnet{depth}", "frozen_norms": True}
        with torch.device("meta"):
            model = create_detector("panoptic_fcn", classes=133, things=range(80), **options)
        assert named == fuse and number == f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}"
