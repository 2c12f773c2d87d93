"""Panoptic FPN: what it trains on, what it answers, and that a folder gives the same one back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from featalign.data.objects import panoptic_target
from featalign.errors import ConfigError
from featalign.models import Detector, create_detector, load_detector, save_detector
from featalign.models.canvas import own_pixels

CLASSES = ["sky", "cat", "road", "car"]


def small(**options) -> Detector:
    torch.manual_seed(0)
    chosen = {
        "backbone": "resnet10t",
        "width": 32,
        "min_size": None,
        "detections": 5,
        "anchors": (8, 16, 32, 64, 128),
        "classes": CLASSES,
        "things": [3, 1],
    }
    return create_detector("panoptic_fpn", **chosen | options)


def sample(height: int = 45, width: int = 63, *, labels=(0, 2, 1, 3), crowd=(), channels: int = 3):
    """Sky above road, a cat and a car on both; with fewer labels, fewer of them."""
    segments = torch.zeros(height, width, dtype=torch.int64)
    areas = [(slice(0, 20), slice(0, 60)), (slice(20, 45), slice(0, 60)), (slice(8, 30), slice(4, 24))]
    areas.append((slice(25, 43), slice(30, 55)))
    for number, area in enumerate(areas[: len(labels)], 1):
        segments[area] = number
    return {
        "image": torch.randint(0, 256, (channels, height, width), dtype=torch.uint8),
        "segments": segments,
        "numbers": torch.arange(1, len(labels) + 1),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "crowd": torch.tensor([number in crowd for number in range(1, len(labels) + 1)], dtype=torch.bool),
        "image_id": 1,
        "name": "drawn",
    }


def targets(model: Detector, *samples) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    return [one["image"] for one in samples], [panoptic_target(one, model.things) for one in samples]


@pytest.mark.parametrize(("fuse", "channels", "points"), [("add", 1, False), ("fapn", 3, False), ("fapn", 3, True)])
def test_training_and_storage(fuse: str, channels: int, points: bool, tmp_path):
    model = small(fuse=fuse, in_channels=channels, point_head=points)
    one, other = sample(channels=channels), sample(70, 34, labels=(0, 2), channels=channels)
    images, truths = targets(model, one, other)
    losses = model(images, truths)
    assert all(torch.isfinite(loss) for loss in losses.values()) and "loss_semantic" in losses
    assert ("loss_mask_points" in losses) == points
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    save_detector(model, tmp_path)
    loaded = load_detector(tmp_path)
    assert loaded.things == (1, 3) and loaded.config == model.config and loaded.classes == model.classes
    with torch.no_grad():
        for ours, theirs, image in zip(model.eval()(images), loaded(images), images, strict=True):
            check_answer(ours, tuple(image.shape[1:]))
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def check_answer(answer: dict[str, Tensor], size: tuple[int, ...]) -> None:
    segments, count = answer["segments"], len(answer["segment_labels"])
    assert segments.shape == size and segments.dtype == answer["segment_labels"].dtype == torch.int64
    assert set(segments.unique().tolist()) - {0} == set(range(1, count + 1))
    assert answer["segment_scores"].shape == (count,) and answer["segment_scores"].dtype == torch.float32
    assert set(answer["segment_labels"].tolist()) <= set(range(len(CLASSES)))
    assert set(answer["labels"].tolist()) <= {2, 4}  # things, from 1 in the order of all classes
    assert answer["masks"].shape == (len(answer["boxes"]), 1, *size)


@pytest.mark.parametrize(
    "rare",
    [sample(labels=()), sample(labels=(0, 2)), sample(labels=(1, 3), crowd=(1, 2)), sample(labels=(1, 3))],
    ids=["void alone", "stuff alone", "crowds alone", "things alone"],
)
def test_images_that_lack_something_train_every_parameter(rare):
    model = small()
    losses = model(*targets(model, rare))
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert (losses["loss_semantic"] == 0) == (len(rare["labels"]) == 0)
    assert (losses["loss_mask"] == 0) == (len(rare["labels"]) == 0 or 0 in rare["labels"] or bool(rare["crowd"].any()))


def test_the_semantic_loss_is_the_mean_over_labelled_pixels_of_the_batch():
    model = small()
    model.network.semantic_weight = 0.25
    images, truths = targets(model, sample(64, 96), sample(labels=(0,)))
    captured = []
    model.network.semantic_head.register_forward_hook(lambda *call: captured.append(call[-1]))
    found = model(images, truths)["loss_semantic"]
    logits = F.interpolate(captured[0], (64, 96), mode="bilinear")
    channel = torch.tensor([1, 0, 2, 0])  # sky, a thing, road, a thing
    total = labelled = 0
    for one, truth in zip(logits, truths, strict=True):
        semantic = truth["semantic"]
        mine = one[:, : semantic.shape[0], : semantic.shape[1]].permute(1, 2, 0)[semantic != 255]
        total += F.cross_entropy(mine, channel[semantic[semantic != 255]], reduction="sum")
        labelled += len(mine)
    torch.testing.assert_close(found, 0.25 * total / labelled)


def test_instance_losses_have_their_weight():
    model = small()
    images, truths = targets(model, sample())
    torch.manual_seed(1)
    once = model(images, truths)
    model.network.instance_weight = 3.0
    torch.manual_seed(1)
    for name, loss in model(images, truths).items():
        torch.testing.assert_close(loss, once[name] * (1.0 if name == "loss_semantic" else 3.0))


def test_logits_of_a_padded_and_resized_image_are_read_at_its_own_pixels():
    """On a canvas of 64 x 96, an image of 20 x 30 was brought to 40 x 60: its pixels are 2 canvas pixels wide."""
    across = (torch.arange(24) * 4 + 2.0).expand(16, 24)
    down = (torch.arange(16) * 4 + 2.0)[:, None].expand(16, 24)
    found = own_pixels(torch.stack((across, down))[None], (40, 60), (64, 96), (20, 30))
    torch.testing.assert_close(found[0, 0], (torch.arange(30) * 2 + 1.0).clamp(min=2).expand(20, 30))
    torch.testing.assert_close(found[0, 1], (torch.arange(20) * 2 + 1.0).clamp(min=2)[:, None].expand(20, 30))


def test_images_may_be_resized():
    model = small(min_size=64, max_size=96)
    images, truths = targets(model, sample())
    sum(model(images, truths).values()).backward()
    with torch.no_grad():
        check_answer(model.eval()(images)[0], (45, 63))


def test_stuff_alone_where_nothing_is_found():
    model = small().eval()
    model.network.roi_heads.score_thresh = 2.0
    with torch.no_grad():
        model.network.semantic_head.classify.weight.zero_()
        model.network.semantic_head.classify.bias.copy_(torch.tensor([0.0, 1.0, 3.0]))
        (answer,) = model([sample()["image"]])
    assert (answer["segments"] == 1).all() and answer["segment_labels"].tolist() == [2]
    expected = torch.tensor([0.0, 1.0, 3.0]).softmax(0)[2]
    torch.testing.assert_close(answer["segment_scores"], expected[None])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"things": None}, '"panoptic_fpn" needs things'),
        ({"things": [1, 4]}, r"different class ids in 0 … 3, got \[1, 4\]"),
        ({"things": [1, 1]}, r"different class ids in 0 … 3, got \[1, 1\]"),
        ({"things": []}, "needs things and stuff, got 0 and 4 classes"),
        ({"things": [0, 1, 2, 3]}, "needs things and stuff, got 4 and 0 classes"),
    ],
)
def test_wrong_things_are_refused(options, message):
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
