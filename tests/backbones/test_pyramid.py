"""Backbones of every family: levels by stride, any size, and clear refusals."""

from __future__ import annotations

import io
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.export import Dim

from featalign.backbones import Pyramid
from featalign.errors import ConfigError

FAMILIES = [
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet18s",
    "resnet34s",
    "resnet50s",
    "resnet101s",
    "hrnet_w18",
    "hrnet_w48",
    "resnest50d",
    "convnext_tiny",
    "swin_tiny_patch4_window7_224",
    "mobilenetv3_large_100",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_size_has_every_level(name):
    pyramid = Pyramid(name, in_channels=3).eval()
    with torch.no_grad():
        for height, width in ((1, 1), (33, 70)):
            maps = pyramid(torch.randn(1, 3, height, width))
            for level, stride, channels in zip(maps, (4, 8, 16, 32), pyramid.channels, strict=True):
                assert level.shape == (1, channels, math.ceil(height / stride), math.ceil(width / stride))


@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_channels(channels):
    pyramid = Pyramid("resnet18", in_channels=channels).eval()
    assert len(pyramid(torch.randn(1, channels, 40, 40))) == 4


def test_padding_repeats_the_border_and_leaves_the_inside_alone():
    pyramid = Pyramid("convnext_atto").eval()
    image = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        whole = pyramid(image)
        cut = pyramid(image[..., :95, :95])
    assert [m.shape for m in cut] == [m.shape for m in whole]
    assert torch.allclose(cut[0][..., :12, :12], whole[0][..., :12, :12], atol=1e-4)


def test_rounding_up_gives_the_papers_grids():
    maps = Pyramid("resnet18s", ceil_pool=True).eval()(torch.zeros(1, 3, 256, 256))
    assert [m.shape[-1] for m in maps] == [65, 33, 17, 9]


def test_multi_grid_keeps_sizes_and_dilates():
    pyramid = Pyramid("resnet50", multi_grid=(2, 2, 4)).eval()
    assert [block.conv2.dilation for block in pyramid.body.layer4] == [(2, 2), (2, 2), (4, 4)]
    assert pyramid(torch.zeros(1, 3, 64, 64))[3].shape[-2:] == (2, 2)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet81", {}, "did you mean"),
        ("vit_tiny_patch16_224", {}, "no map of stride 4, 8, 32"),
        ("coat_tiny", {}, "sizes of its own"),
        ("convnext_atto", {"ceil_pool": True}, "has none"),
        ("resnet18", {"multi_grid": (2, 2, 4)}, "bottlenecks"),
    ],
)
def test_refusals_say_what_to_do(name, options, message):
    with pytest.raises(ConfigError, match=message):
        Pyramid(name, **options)


def test_one_tiny_image_cannot_train_batch_normalization():
    pyramid = Pyramid("resnet18").train()
    with pytest.raises(ValueError, match="batch of at least 2"):
        pyramid(torch.zeros(1, 3, 20, 32))
    assert len(pyramid(torch.zeros(2, 3, 20, 32))) == 4
    assert len(pyramid(torch.zeros(1, 3, 20, 33))) == 4


def test_building_leaves_statistics_and_mode_alone():
    pyramid = Pyramid("resnet18")
    assert pyramid.training
    assert all(int(b) == 0 for name, b in pyramid.named_buffers() if name.endswith("num_batches_tracked"))


class Pooled(nn.Module):
    """A body that drops the remainder of rows and columns, as ConvNeXt does."""

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [F.avg_pool2d(images, stride) for stride in (4, 8, 16, 32)]


@torch.no_grad()
def test_sizes_stay_open_in_a_program_that_is_stored_where_images_are_extended():
    pyramid = Pyramid("resnet10t").eval()
    pyramid.body, pyramid._pads, pyramid._levels = Pooled(), True, [0, 1, 2, 3]
    example, sizes, stored = torch.zeros(1, 3, 96, 160), {"images": {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}, io.BytesIO()
    program = torch.export.export(
        pyramid, (example,), dynamic_shapes=sizes, prefer_deferred_runtime_asserts_over_guards=True
    )
    torch.export.save(program, stored)
    stored.seek(0)
    opened = torch.export.load(stored).module()
    for height, width in ((65, 200), (130, 67)):
        images = torch.randn(1, 3, height, width)
        for found, wanted in zip(opened(images), pyramid(images), strict=True):
            assert torch.equal(found, wanted)
