"""Pyramids as torchvision's detectors take them, against torchvision's own FPN."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from featalign.align import FUSES
from featalign.errors import ConfigError
from featalign.models import pyramid

DETECTORS = ("FasterRCNN", "MaskRCNN", "RetinaNet", "FCOS")
PAGE = Path(__file__).parents[2] / "docs" / "pyramid.md"


def names_of_fpn(name: str) -> str:
    """A parameter of torchvision's resnet_fpn_backbone under our name for it."""
    name = name.replace("body.", "backbone.body.")
    name = re.sub(r"fpn\.inner_blocks\.([012])\.0\.", r"neck.pathway.fuses.\1.lateral.", name)
    name = name.replace("fpn.inner_blocks.3.0.", "neck.pathway.top.0.")
    return re.sub(r"fpn\.layer_blocks\.(\d)\.0\.", r"neck.pathway.smooth.\1.0.", name)


def test_addition_is_torchvisions_fpn():
    torch.manual_seed(0)
    theirs = resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d).eval()
    ours = pyramid("resnet18", fuse="add").eval()
    ours.load_state_dict({names_of_fpn(name): value for name, value in theirs.state_dict().items()})
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected, got = theirs(images), ours(images)
    assert list(got) == list(expected) == ["0", "1", "2", "3", "pool"]
    for name, level in got.items():
        assert torch.allclose(level, expected[name], atol=1e-4), name
    assert ours.out_channels == theirs.out_channels


@pytest.mark.parametrize("trainable", [4, 3, 1, 0])
def test_frozen_levels_are_torchvisions_layers(trainable):
    theirs = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=trainable)
    ours = pyramid("resnet18", fuse="add", frozen_norms=True, frozen_levels=4 - trainable)
    learning = {names_of_fpn(name) for name, parameter in theirs.named_parameters() if parameter.requires_grad}
    stem = {"backbone.body.conv1.weight"} if trainable == 4 else set()  # trains with the first stage here
    assert {name for name, parameter in ours.named_parameters() if parameter.requires_grad} == learning | stem


def test_frozen_levels_keep_weights_and_statistics_through_training():
    torch.manual_seed(0)
    model = pyramid("resnet18", fuse="add", width=8, frozen_levels=2).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sum(level.square().sum() for level in model(torch.randn(2, 3, 64, 64)).values()).backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0).step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    frozen = ("backbone.body.conv1", "backbone.body.bn1", "backbone.body.layer1", "backbone.body.layer2")
    assert not [name for name in changed if name.startswith(frozen)]
    assert {"backbone.body.layer3.0.bn1.running_mean", "backbone.body.layer3.0.bn2.weight"} <= changed


@pytest.mark.parametrize("fuse", ["add", *FUSES])
def test_every_fuse_at_any_size(fuse):
    model = pyramid("resnet10t", fuse=fuse, width=16).eval()
    sizes = [(13, 19), (7, 10), (4, 5), (2, 3), (1, 2)]
    with torch.no_grad():
        maps = model(torch.randn(2, 3, 51, 75))
    assert [tuple(level.shape) for level in maps.values()] == [(2, 16, *size) for size in sizes]
    assert model.strides == (4, 8, 16, 32, 64)


def test_retinanets_levels_come_from_the_last_backbone_map():
    torch.manual_seed(0)
    model = pyramid("resnet10t", fuse="add", levels=(8, 16, 32), top="p6p7", width=16, in_channels=1).eval()
    images = torch.randn(2, 1, 96, 128)
    with torch.no_grad():
        maps, source = model(images), model.backbone(images)[-1]
        p6 = model.neck.extra.p6(source)
        assert list(maps) == ["0", "1", "2", "p6", "p7"]
        assert torch.equal(maps["p6"], p6)
        assert torch.equal(maps["p7"], model.neck.extra.p7(p6.relu()))
    assert [128 // level.shape[-1] for level in maps.values()] == list(model.strides) == [8, 16, 32, 64, 128]


def test_nothing_above():
    model = pyramid("resnet10t", fuse="add", top="none", width=16)
    assert list(model(torch.randn(2, 3, 64, 64))) == ["0", "1", "2", "3"]
    assert model.strides == (4, 8, 16, 32)


@pytest.mark.parametrize(
    ("name", "fuse"),
    [(name, "fapn") for name in DETECTORS] + [(name, fuse) for name in DETECTORS[:2] for fuse in ("add", "alignfa")],
)
def test_detectors_train_and_detect(name, fuse):
    torch.manual_seed(0)
    if name.endswith("RCNN"):
        above, few = {}, {"rpn_post_nms_top_n_train": 40, "box_batch_size_per_image": 16, "box_detections_per_img": 3}
    else:
        above, few = {"levels": (8, 16, 32), "top": "p6p7"}, {"detections_per_img": 3}
    backbone = pyramid("resnet10t", fuse=fuse, width=32, **above)
    model = getattr(detection, name)(backbone, num_classes=3, min_size=64, max_size=96, **few)
    images = [torch.rand(3, 60, 80), torch.rand(3, 64, 50)]
    box = torch.tensor([[10.0, 12.0, 40.0, 44.0]])
    masks = [torch.zeros(1, *image.shape[-2:], dtype=torch.uint8) for image in images]
    for mask in masks:
        mask[:, 12:44, 10:40] = 1
    targets = [{"boxes": box, "labels": torch.tensor([1]), "masks": mask} for mask in masks]
    sum(model(images, targets).values()).backward()
    assert all(parameter.grad is not None for parameter in backbone.neck.pathway.fuses.parameters())
    with torch.no_grad():
        answers = model.eval()(images)
    assert len(answers) == 2 and {"boxes", "labels", "scores"} <= set(answers[0])


def test_the_pages_counts():
    """Each row of the page; and the first one against the numbers that torchvision publishes for its own detectors."""
    rows = [[cell.strip() for cell in line.split("|")[2:-1]] for line in PAGE.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if len(row) == 5 and re.fullmatch(r"[\d.]+", row[1])]
    expected = [(backbone, fuse) for backbone in ("resnet50", "resnet101") for fuse in ("add", "fapn", "alignfa")]
    for (fuse_cell, *numbers), (backbone, fuse) in zip(rows, expected, strict=True):
        assert f"`{fuse}`" in fuse_cell
        deeper = size(backbone, "add") - size("resnet50", "add")  # the rest is the same
        assert numbers == [f"{(count(name, fuse) + deeper) / 1e6:.2f}" for name in DETECTORS]
    p6_of_p5 = 9 * 256 * (2048 - 256)
    published = [41_755_286, 44_401_393, 34_014_999 + p6_of_p5, 32_269_600 + p6_of_p5]
    assert [count(name, "add") for name in DETECTORS] == published


def count(name: str, fuse: str) -> int:
    """Parameters of a detector on ResNet-50: those of its pyramid, and those of its heads on any module as wide."""
    single = nn.Identity()
    single.out_channels = 256
    levels = {} if name.endswith("RCNN") else {"levels": (8, 16, 32), "top": "p6p7"}
    with torch.device("meta"):
        heads = getattr(detection, name)(single, num_classes=91)
    return size("resnet50", fuse, **levels) + sum(parameter.numel() for parameter in heads.parameters())


@functools.cache
def size(backbone: str, fuse: str, **above: Any) -> int:
    with torch.device("meta"):
        return sum(
            parameter.numel() for parameter in pyramid(backbone, fuse=fuse, frozen_norms=True, **above).parameters()
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fuse": "fapm"}, 'unknown fuse "fapm": did you mean "fapn"'),
        ({"top": "p6"}, 'unknown top "p6"'),
        ({"levels": (32, 16)}, "finest first"),
        ({"levels": ()}, "finest first"),
        ({"levels": (4, 64)}, "no map of stride 64"),
        ({"frozen_levels": 5}, "frozen_levels must be 0 … 4"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        pyramid("resnet10t", **options)
