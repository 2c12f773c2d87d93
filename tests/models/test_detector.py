"""Detectors by name: what they train on, what they answer, and that a folder gives the same one back."""

from __future__ import annotations

from typing import get_args

import pytest
import timm
import torch
from torch import nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.roi_heads import RoIHeads

from featalign.align import AlignFAFuse
from featalign.data import normalize
from featalign.errors import ConfigError, WeightsError
from featalign.models import (
    create_detector,
    create_model,
    load_detector,
    load_model,
    save_detector,
    save_model,
)
from featalign.models.detector_factory import DetectionName
from featalign.spec import Normalization

NAMES = get_args(DetectionName)


def small(name: str, **options):
    torch.manual_seed(0)
    width = 64 if name == "fcos" else 32
    chosen = {"backbone": "resnet10t", "width": width, "min_size": None, "detections": 3, "classes": ["cat", "car"]}
    return create_detector(name, **chosen | options)


@pytest.mark.parametrize(("name", "fuse"), [*zip(NAMES, ("add", "fapn", "alignfa", "fapn"), strict=True)])
def test_training_and_storage(name, fuse, tmp_path):
    model = small(name, fuse=fuse, anchors=(8, 16, 32, 64, 128), in_channels=1)
    images = [torch.randint(0, 256, (1, *size), dtype=torch.uint8) for size in ((64, 50), (40, 72))]
    mask = torch.zeros(1, 64, 50, dtype=torch.uint8)
    mask[:, 12:44, 10:40] = 1
    target = {"boxes": torch.tensor([[10.0, 12.0, 40.0, 44.0]]), "labels": torch.tensor([2]), "masks": mask}
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": mask[:0, :40, :0]}
    losses = model(images, [target, empty])
    sum(losses.values()).backward()
    assert ("loss_mask" in losses) == (name == "mask_rcnn")
    assert all(parameter.grad is not None for parameter in model.network.backbone.neck.pathway.fuses.parameters())
    save_detector(model, tmp_path / "detector")
    loaded = load_detector(tmp_path / "detector")
    assert loaded.classes == model.classes and loaded.config == model.config and not loaded.training
    with torch.no_grad():
        for ours, theirs in zip(model.eval()(images), loaded(images), strict=True):
            assert ours.keys() == theirs.keys() and len(ours["boxes"]) <= 3
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("point_head", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_boxes_are_not_rounded_under_autocast(name, point_head):
    """bf16 knows every eighth pixel beyond 1024; anchors are those of single precision, codes alone are rough."""
    if point_head and name != "mask_rcnn":
        pytest.skip("has no masks")
    model = small(name, fuse="add", detections=50, point_head=point_head).eval()
    for module in model.modules():
        if isinstance(module, (RoIHeads, RetinaNet, FCOS)):
            module.score_thresh = 0.0
    anchors: list[list[torch.Tensor]] = []
    for module in model.modules():
        if isinstance(module, AnchorGenerator):
            module.register_forward_hook(lambda module, inputs, found: anchors.append(found))
    image = torch.randint(0, 256, (3, 64, 1300), dtype=torch.uint8)
    with torch.no_grad():
        model([image])
        with torch.autocast("cpu", torch.bfloat16):
            (found,) = model([image])
    exact, rough = anchors
    assert all(torch.equal(a, b) for a, b in zip(exact, rough, strict=True))
    assert found["boxes"].dtype == found["scores"].dtype == torch.float32
    far = found["boxes"][found["boxes"] > 1024]
    assert len(far) and (far % 1 > 0).any()
    target = {
        "boxes": torch.tensor([[1003.0, 12.0, 1041.0, 44.0]]),
        "labels": torch.tensor([2]),
        "masks": torch.ones(1, 64, 1300, dtype=torch.uint8),
    }
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([image], [target])
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_normalized_as_everywhere_and_keep_their_size(channels):
    model = small("faster_rcnn", fuse="add", in_channels=channels).eval()
    image = torch.randint(0, 256, (channels, 64, 96), dtype=torch.uint8)
    batch, _ = model.network.transform([image.float() / 255])
    assert torch.allclose(batch.tensors[0], normalize(image, model.normalization), atol=1e-5)


@pytest.mark.parametrize("min_size", [None, 64])
def test_images_are_normalized_as_the_backbones_weights_expect_it(min_size, tmp_path):
    file = tmp_path / "weights.pth"
    torch.save(timm.create_model("mobilenetv4_conv_small_050").state_dict(), file)
    model = small("faster_rcnn", backbone="mobilenetv4_conv_small_050", pretrained=str(file), min_size=min_size).eval()
    half = (0.5, 0.5, 0.5)
    assert model.normalization == Normalization(half, half)
    batch, _ = model.network.transform([torch.full((3, 64, 64), 0.75)])
    assert torch.allclose(batch.tensors, torch.tensor(0.5))
    save_detector(model, tmp_path / "detector")
    loaded = load_detector(tmp_path / "detector")
    assert loaded.normalization == model.normalization
    loaded.normalization = Normalization((0.75,), (0.25,))
    batch, _ = loaded.network.transform([torch.full((3, 64, 64), 0.75)])
    assert torch.allclose(batch.tensors, torch.tensor(0.0))


def test_images_are_resized_if_asked_for():
    model = small("faster_rcnn", fuse="add", min_size=128, max_size=160).eval()
    batch, _ = model.network.transform([torch.rand(3, 64, 70), torch.rand(3, 32, 64)])
    assert batch.image_sizes == [(128, 140), (80, 160)]


def test_anchors_are_those_asked_for():
    sizes = (4, 8, 16, 32, 64)
    assert small("mask_rcnn", anchors=sizes).network.rpn.anchor_generator.sizes == ((4,), (8,), (16,), (32,), (64,))
    assert small("fcos", anchors=sizes).network.anchor_generator.num_anchors_per_location() == [1] * 5
    retina = small("retinanet", anchors=sizes).network.anchor_generator
    assert retina.sizes[1] == (8, 10, 12) and retina.num_anchors_per_location() == [9] * 5


def test_folders_of_the_other_kind_are_refused(tmp_path):
    save_detector(small("fcos", fuse="add"), tmp_path / "detector")
    save_model(create_model("fpn", align="ifa", backbone="resnet10t", classes=2, width=16), tmp_path / "segmentor")
    with pytest.raises(WeightsError, match="is a detector; load it with load_detector"):
        load_model(tmp_path / "detector")
    with pytest.raises(WeightsError, match="is no detector"):
        load_detector(tmp_path / "segmentor")
    config = tmp_path / "detector" / "config.json"
    config.write_text(config.read_text().replace('"fcos"', '"focs"'))
    with pytest.raises(WeightsError, match=r'no detector can be built from it .*did you mean "fcos"'):
        load_detector(tmp_path / "detector")


def test_a_fuse_of_ones_own_is_not_stored(tmp_path):
    class Own(AlignFAFuse):
        pass

    model = small("retinanet", fuse=Own)
    assert sum(isinstance(module, Own) for module in model.modules()) == 2
    with pytest.raises(WeightsError, match="its fuse is not one of names"):
        save_detector(model, tmp_path / "detector")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mask_rcn", {}, 'unknown detector "mask_rcn": did you mean "mask_rcnn"'),
        ("fcos", {"anchors": (8, 16)}, r"five sizes in pixels, finest level first, got \(8, 16\)"),
        ("fcos", {"fuse": "fapm"}, 'did you mean "fapn"'),
        (
            "fcos",
            {"backbone": "resnet18.typo", "pretrained": True},
            'backbone "resnet18.typo" has no published weights',
        ),
        ("fcos", {"classes": 0}, "classes must be at least 1"),
        ("fcos", {"width": 80}, '"fcos" needs a width of 64, 96, …, got 80'),
        ("fcos", {"width": 32}, '"fcos" needs a width of 64, 96, …, got 32'),
        ("fcos", {"point_head": True}, '"fcos" has no masks for a point_head to draw'),
        ("mask_rcnn", {"things": [0]}, '"mask_rcnn" tells the objects of all classes apart'),
        ("panoptic_fpn", {"things": [0], "classes": 256}, "255 classes apart at most, .*; got 256"),
        ("mask_rcnn", {"detections": -5}, "detections must be a positive whole number, got -5"),
        ("mask_rcnn", {"max_size": 0}, "max_size must be a positive whole number, got 0"),
        ("mask_rcnn", {"min_size": "big"}, "min_size must be positive whole numbers, at least one, got 'big'"),
        ("mask_rcnn", {"min_size": [600, 0]}, r"min_size must be positive whole numbers, at least one, got \[600, 0\]"),
        ("mask_rcnn", {"point_head": "no"}, "point_head must be true or false, got 'no'"),
        ("fcos", {"frozen_norms": 1}, "frozen_norms must be true or false, got 1"),
        ("mask_rcnn", {"anchors": 8}, "anchors must be positive whole numbers, at least one, got 8"),
        ("fcos", {"fuse": ["fapn"]}, r"unknown fuse \"\['fapn'\]\""),
        ("fcos", {"frozen_levels": "all"}, "frozen_levels must be a non-negative whole number, got 'all'"),
        ("panoptic_fpn", {"things": ["cat"]}, r"different class ids in 0 … 1, got \['cat'\]"),
        ("panoptic_fpn", {"things": 1}, "different class ids in 0 … 1, got 1"),
        ("maskformer", {"things": {}}, "different class ids in 0 … 1, got {}"),
    ],
)
def test_wrong_options_are_refused(name, options, message):
    with pytest.raises(ConfigError, match=message):
        small(name, **options)


@pytest.mark.parametrize("name", NAMES)
def test_one_image_smaller_than_the_coarsest_cell_is_answered(name):
    """Its coarsest map is one cell, of which a group of one channel cannot be normalized."""
    (found,) = small(name, fuse="add").eval()([torch.randint(0, 256, (3, 70, 90), dtype=torch.uint8)])
    assert found["boxes"].shape == (len(found["scores"]), 4)


@pytest.mark.parametrize("image", [torch.rand(3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.uint8)])
def test_other_images_are_refused(image):
    model = small("fcos", fuse="add").eval()
    assert isinstance(model, nn.Module)
    with pytest.raises(ValueError, match=r"expected uint8 \(3, H, W\)"):
        model([image])


def test_several_sizes_are_drawn_from_in_training(tmp_path):
    model = create_detector("faster_rcnn", classes=2, backbone="resnet10t", width=32, min_size=[64, 96], max_size=200)
    image = [torch.zeros(3, 50, 80)]
    transform = model.network.transform
    sides = {transform.train()(image)[0].image_sizes[0][0] for _ in range(30)}
    assert sides == {64, 96} and transform.eval()(image)[0].image_sizes[0][0] == 96
    save_detector(model, tmp_path)
    assert load_detector(tmp_path).config["min_size"] == [64, 96]
    with pytest.raises(ConfigError, match="min_size"):
        create_detector("faster_rcnn", classes=2, backbone="resnet10t", min_size=[])
