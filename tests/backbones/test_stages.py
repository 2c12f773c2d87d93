"""Backbones made coarser by pooling after the first stage, or finer by dilation."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch

from featalign.backbones import Pyramid
from featalign.errors import ConfigError

SECOND_STAGE = {
    "resnet18": "layer2",
    "convnext_atto": "stages_1",
    "swin_tiny_patch4_window7_224": "layers_1",
    "mobilenetv3_small_050": "blocks.1",
}


@pytest.mark.parametrize("name", SECOND_STAGE)
@pytest.mark.parametrize("factor", [2, 4])
def test_only_what_follows_the_first_stage_is_pooled(name, factor):
    torch.manual_seed(0)
    plain, pooled = Pyramid(name).eval(), Pyramid(name, extra_stride=factor).eval()
    pooled.load_state_dict(plain.state_dict())
    entered = []
    stage = pooled.body.get_submodule(SECOND_STAGE[name])
    stage.register_forward_hook(lambda _, inputs, __: entered.append(inputs[0]))
    images = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        first, *coarser = pooled(images)
        assert torch.allclose(first, plain(images)[0], atol=1e-5)
    assert pooled.strides == (4, 8 * factor, 16 * factor, 32 * factor)
    for level, stride in zip(coarser, pooled.strides[1:], strict=True):
        assert level.shape[-2:] == (256 // stride, 256 // stride)
    got = entered[0].permute(0, 3, 1, 2) if name.startswith("swin") else entered[0]
    means = first.unflatten(2, (-1, factor)).unflatten(4, (-1, factor)).mean((3, 5))
    assert torch.allclose(got, means, atol=1e-5)


def test_border_cells_average_what_there_is():
    pooled = Pyramid("resnet18", extra_stride=4).eval()
    entered = []
    pooled.body["layer2"].register_forward_hook(lambda _, inputs, __: entered.append(inputs[0]))
    with torch.no_grad():
        first = pooled(torch.randn(1, 3, 37, 50))[0][0].numpy()
    assert first.shape[1:] == (10, 13) and entered[0].shape[-2:] == (3, 4)
    for i in range(3):
        for j in range(4):
            mean = first[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean((1, 2))
            assert np.allclose(entered[0][0, :, i, j].numpy(), mean, atol=1e-5)


def test_pooled_backbones_can_be_pickled():
    pooled = Pyramid("resnet18", extra_stride=2).eval()
    again = pickle.loads(pickle.dumps(pooled))
    images = torch.randn(1, 3, 70, 45)
    with torch.no_grad():
        for level, wanted in zip(again(images), pooled(images), strict=True):
            assert torch.equal(level, wanted)


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224", "mobilenetv3_small_050"])
@pytest.mark.parametrize("factor", [2, 4])
def test_any_size_when_pooled(name, factor):
    pyramid = Pyramid(name, extra_stride=factor).eval()
    with torch.no_grad():
        for height, width in ((1, 1), (37, 150)):
            maps = pyramid(torch.randn(1, 3, height, width))
            for level, stride in zip(maps, pyramid.strides, strict=True):
                assert level.shape[-2:] == (math.ceil(height / stride), math.ceil(width / stride))


@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilated_maps_hold_the_undilated_ones(output_stride):
    torch.manual_seed(0)
    plain, dilated = Pyramid("resnet18").eval(), Pyramid("resnet18", output_stride=output_stride).eval()
    dilated.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 75, 96)
    assert dilated.strides == tuple(min(stride, output_stride) for stride in (4, 8, 16, 32))
    with torch.no_grad():
        for coarse, fine, stride in zip(plain(images), dilated(images), (4, 8, 16, 32), strict=True):
            step = max(1, stride // output_stride)
            assert fine.shape[-2:] == tuple(math.ceil(side / min(stride, output_stride)) for side in (75, 96))
            assert torch.allclose(fine[..., ::step, ::step], coarse, atol=1e-4)


@pytest.mark.parametrize("name", ["resnest14d", "convnext_atto", "mobilenetv3_small_050"])
def test_other_families_dilate(name):
    pyramid = Pyramid(name, strides=(16, 32), output_stride=8).eval()
    assert pyramid.strides == (8, 8)
    assert pyramid.channels == Pyramid(name, strides=(16, 32)).channels
    with torch.no_grad():
        assert all(level.shape[-2:] == (5, 7) for level in pyramid(torch.randn(1, 3, 37, 50)))


def test_multi_grid_multiplies_the_dilation_of_the_stage():
    plain, multiplied = (Pyramid("resnet50", output_stride=8, multi_grid=grid) for grid in (None, (1, 2, 4)))
    rates = [block.conv2.dilation[0] for block in plain.body.layer4]
    assert [block.conv2.dilation for block in multiplied.body.layer4] == [
        (r * f,) * 2 for r, f in zip(rates, (1, 2, 4), strict=True)
    ]
    assert [m.shape for m in multiplied(torch.zeros(2, 3, 33, 33))] == [
        m.shape for m in plain(torch.zeros(2, 3, 33, 33))
    ]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {"output_stride": 4}, "one of 8, 16, 32, got 4"),
        ("resnet18", {"extra_stride": 0}, "positive whole number, got 0"),
        ("resnet18", {"extra_stride": 2, "output_stride": 16}, "choose one of the two"),
        ("hrnet_w18_small", {"extra_stride": 2}, "does not run stage by stage"),
        ("hrnet_w18_small", {"output_stride": 8}, "cannot be dilated to output_stride 8; use output_stride=32"),
        ("swin_tiny_patch4_window7_224", {"output_stride": 16}, "cannot be dilated to output_stride 16"),
    ],
)
def test_refusals_of_strides(name, options, message):
    with pytest.raises(ConfigError, match=message):
        Pyramid(name, **options)


def test_one_image_of_one_pooled_cell_cannot_train():
    pyramid = Pyramid("resnet18", extra_stride=4).train()
    with pytest.raises(ValueError, match="stride 128 is a single cell"):
        pyramid(torch.zeros(1, 3, 100, 100))
