"""MaskFormer on a pyramid: what it trains on, what it answers, and the rules between."""

from __future__ import annotations

import sys

import pytest
import torch
from models.test_panoptic_fpn import CLASSES, sample, targets

from featalign.errors import ConfigError, WeightsError
from featalign.metrics import PanopticQuality
from featalign.models import Detector, create_detector, load_detector, save_detector
from featalign.models.maskformer_merging import QueryMerging, class_of_pixels, merge_queries

pytest.importorskip("transformers", reason="needs featalign[maskformer]")


def small(**options) -> Detector:
    torch.manual_seed(0)
    chosen = {"backbone": "resnet10t", "width": 32, "min_size": None, "detections": 8, "things": [1, 3]}
    return create_detector("maskformer", classes=CLASSES, **chosen | options)


@pytest.mark.parametrize(("fuse", "backbone"), [("add", "resnet10t"), ("fapn", "swin_tiny_patch4_window7_224")])
def test_training_and_storage(fuse: str, backbone: str, tmp_path):
    model = small(fuse=fuse, backbone=backbone)
    images, truths = targets(model, sample(), sample(70, 34, labels=(0, 2)))
    losses = model(images, truths)
    assert set(losses) == {"loss_cross_entropy", "loss_mask", "loss_dice"}
    sum(losses.values()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    save_detector(model, tmp_path)
    loaded = load_detector(tmp_path)
    assert loaded.things == (1, 3) and loaded.config == model.config
    with torch.no_grad():
        for ours, theirs, image in zip(model.eval()(images), loaded(images), images, strict=True):
            assert ours["segments"].shape == ours["semantic"].shape == image.shape[1:]
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_large_masks_are_matched_under_fp16():
    """Twice the cells of a mask is beyond 65504 where it covers half of 200 x 334."""
    network = small().network
    truth = torch.zeros(2, 200, 334)
    truth[0, :, :200] = truth[1, 50:150, 220:300] = 1
    masks = torch.full((1, 3, 200, 334), -6.0)
    masks[0, 2], masks[0, 1] = 12 * truth[0] - 6, 12 * truth[1] - 6
    masks[0, 0, :, :100] = 3.0  # half of the first
    kinds = torch.zeros(1, 3, len(CLASSES) + 1)
    matched = []
    network.criterion.matcher.register_forward_hook(lambda module, inputs, found: matched.append(found))
    segments = [(torch.tensor([0, 1]), truth)]
    for half in (False, True):
        with torch.autocast("cpu", torch.float16, enabled=half):
            losses = network._losses([(kinds, masks)], segments)
        assert all(loss.isfinite() for loss in losses.values())
    single, rough = ([pair.tolist() for pair in found[0]] for found in matched)
    assert single == rough == [[1, 2], [1, 0]]


def test_position_codes_are_exact_in_half_precision():
    codes = small().network.transformer.position_embedder
    exact, asked = (
        codes(torch.Size((1, 8, 25, 100)), torch.device("cpu"), kind) for kind in (torch.float32, torch.bfloat16)
    )
    assert torch.equal(exact, asked)


def test_masks_are_shown_where_the_image_is():
    """A step at 3/8 of 640 pixels is at 3/8 of 1067, between the same two centres."""
    model = small(min_size=1067, max_size=1067)
    semantic = torch.zeros(640, 640, dtype=torch.int64)
    semantic[:, 240:] = 2
    target = {
        "masks": torch.zeros(0, 640, 640, dtype=torch.uint8),
        "labels": torch.zeros(0, dtype=torch.int64),
        "boxes": torch.zeros(0, 4),
        "semantic": semantic,
    }
    ((labels, masks),) = model.network._segments([target], [(640, 640)], [(1067, 1067)], (1088, 1088))
    assert labels.tolist() == [0, 2] and masks.shape == (2, 1088, 1088)
    assert masks[0, 0].sum() == round(240 / 640 * 1067) == 400 and masks[1, 0].sum() == 667


def test_every_layer_is_supervised():
    """The losses see the answers of all six layers, each after the decoder's last normalization, and add up."""
    model = small()
    network = model.network
    images, truths = targets(model, sample())
    layers, calls = [], []
    for layer in network.transformer.decoder.layers:
        layer.register_forward_hook(lambda module, inputs, found: layers.append(found))
    network.criterion.register_forward_hook(lambda module, inputs, found: calls.append((inputs[1], found["loss_mask"])))
    losses = model(images, truths)
    assert len(layers) == len(calls) == 6
    for layer, (classes, _) in zip(layers, calls, strict=True):
        found = layer[0] if isinstance(layer, tuple) else layer
        torch.testing.assert_close(network.classify(network.transformer.decoder.layernorm(found)), classes)
    torch.testing.assert_close(losses["loss_mask"], 20 * sum(loss for _, loss in calls))


def test_one_scene_is_learnt():
    model = small(fuse="fapn", things=[1, 3])
    model.network.merging = QueryMerging(score=0.5)  # so few iterations do not make every query sure
    scene = sample(64, 64)
    colors = torch.randint(0, 256, (5, 3), dtype=torch.uint8)
    scene["image"] = colors[scene["segments"]].permute(2, 0, 1).contiguous()
    images, truths = targets(model, scene)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=130)
    for _ in range(130):
        optimizer.zero_grad()
        sum(model(images, truths).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        (answer,) = model.eval()(images)
    quality = PanopticQuality(len(CLASSES), model.things)
    found = dict(enumerate(answer["segment_labels"].tolist(), 1))
    true = dict(zip(scene["numbers"].tolist(), scene["labels"].tolist(), strict=True))
    quality.update(answer["segments"], found, scene["segments"], true)
    assert quality.scores().all.pq > 0.9
    known = truths[0]["semantic"] != 255
    assert (answer["semantic"] == truths[0]["semantic"])[known].float().mean() > 0.95


@pytest.mark.parametrize("things", [[1, 3], [], [0, 1, 2, 3]])
def test_nothing_to_find(things):
    """Images of void alone, and of classes without objects, give losses that are numbers."""
    model = small(things=things)
    images, truths = targets(model, sample(labels=()), sample(labels=(0, 2)))
    for batch in ((images[:1], truths[:1]), (images, truths)):
        losses = model(*batch)
        assert all(torch.isfinite(loss) for loss in losses.values())
        sum(losses.values()).backward()


def test_a_crowd_is_no_object():
    model = small()
    _, truths = targets(model, sample(crowd=(4,)))
    ((labels, masks),) = model.network._segments(truths, [(45, 63)], [(45, 63)], (64, 64))
    assert labels.tolist() == [1, 0, 2] and masks.shape == (3, 64, 64)
    assert masks[:, 45:].sum() == masks[:, :, 63:].sum() == 0
    assert not (masks[:, :45, :63].sum(0).bool() & (truths[0]["semantic"] == 3)).any()


def logits(*probabilities: float) -> torch.Tensor:
    return torch.tensor(probabilities).log()


def test_merging_by_hand():
    """Two queries of one stuff class become one segment; two of a thing stay two; the unsure and the hidden go."""
    classes = torch.stack(
        [
            logits(0.9, 0.05, 0.05),  # stuff 0, left
            logits(0.95, 0.03, 0.02),  # stuff 0, right
            logits(0.01, 0.98, 0.01),  # thing 1
            logits(0.05, 0.85, 0.1),  # thing 1, hidden by the one before
            logits(0.3, 0.6, 0.1),  # unsure
            logits(0.01, 0.01, 0.98),  # no object
        ]
    )
    masks = torch.full((6, 4, 8), -8.0)
    masks[0, :, :4] = masks[1, :, 4:] = 3.0
    masks[2, 1:3, 2:4] = masks[3, 1:3, 2:4] = 8.0
    masks[4:] = 9.0
    segments, labels, scores = merge_queries(classes, masks, [0], QueryMerging(overlap=0.7))
    expected = torch.ones(4, 8, dtype=torch.int64)
    expected[1:3, 2:4] = 2
    assert torch.equal(segments, expected) and labels.tolist() == [0, 1]
    torch.testing.assert_close(scores, torch.tensor([0.9, 0.98]))
    assert merge_queries(classes[5:], masks[5:], [0], QueryMerging()).segments.max() == 0
    assert merge_queries(classes[:1], -masks[1:2].abs(), [0], QueryMerging()).segments.max() == 0, "a mask of nothing"


def test_what_no_mask_covers():
    """As published the surest query has it all the same; a least probability leaves it void."""
    classes, masks = logits(0.95, 0.03, 0.02)[None], torch.full((1, 2, 6), -8.0)
    masks[..., :3] = 8.0
    assert merge_queries(classes, masks, [0], QueryMerging()).segments.eq(1).all()
    segments = merge_queries(classes, masks, [0], QueryMerging(pixel=0.5)).segments
    assert segments.tolist() == [[1, 1, 1, 0, 0, 0]] * 2


def test_class_of_pixels_is_the_largest_sum():
    torch.manual_seed(0)
    classes, masks = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 130, 3, dtype=torch.float64)
    sums = torch.zeros(3, 130, 3, dtype=torch.float64)
    for query in range(5):
        for label in range(3):
            sums[label] += classes[query].softmax(0)[label] * masks[query].sigmoid()
    assert torch.equal(class_of_pixels(classes, masks), sums.argmax(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 36, "fuse": "add"}, "8 heads"),
        ({"anchors": (8, 16, 32, 64, 128)}, "without anchors"),
        ({"point_head": True}, "no masks for a point_head"),
        ({"things": None}, "needs things"),
        ({"things": [4]}, "different class ids"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ConfigError, match=message):
        small(**options)


def test_without_the_library(monkeypatch, tmp_path):
    save_detector(small(), tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install 'featalign\[maskformer\]'"):
        small()
    with pytest.raises(WeightsError, match=r"can be built from it \(.*pip install 'featalign\[maskformer\]'\)"):
        load_detector(tmp_path)


def test_wrong_targets():
    model = small()
    images, truths = targets(model, sample())
    with pytest.raises(ValueError, match="one for each image"):
        model(images)
    with pytest.raises(ValueError, match="panoptic_target"):
        model(images, [{name: value for name, value in truths[0].items() if name != "semantic"}])
