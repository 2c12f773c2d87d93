from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.align.fapn import DeformableConv
from featalign.align.fuses import FUSES
from featalign.align.sfnet import AlignedModule
from featalign.inference import Predictor
from featalign.inference.alignment import recording
from featalign.inference.displacement import in_cells, mean_displacement
from featalign.inference.explanation import Explanation, draw, explain, write_explanation
from featalign.models import Segmentor, create_detector, create_model
from featalign.ops.warp import Sampling, warp


def make_model(name: str, **options: Any) -> Segmentor:
    torch.manual_seed(0)
    small = {"hidden": (12,)} if name == "fpn" else {}
    return create_model(name, classes=3, backbone="resnet10t", width=32, **small, **options).eval()


def shake(model: nn.Module) -> nn.Module:
    """Give everything that starts at zero some weight."""
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return model


def make_image(height: int = 45, width: int = 70, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, channels), np.uint8)


def explained(model: Segmentor, **options: Any) -> Explanation:
    return explain(Predictor(model, device="cpu"), make_image(channels=model.in_channels), **options)


@pytest.mark.parametrize("sampling", get_args(Sampling))
def test_offsets_in_cells_are_how_far_the_warp_reads(sampling: Sampling):
    """On a ramp, the value that is read tells the place; one output cell is the distance of neighbouring reads."""
    cells, size = (9, 14), (17, 21)
    ramps = torch.stack(torch.meshgrid(torch.arange(14.0), torch.arange(9.0), indexing="xy"))[None].double()
    offset = torch.tensor([0.4, -0.3], dtype=torch.float64)[:, None, None].expand(1, 2, *size)
    still, moved = (warp(ramps, x, sampling=sampling) for x in (torch.zeros_like(offset), offset))
    inside = (slice(6, 11), slice(7, 14))
    got = in_cells(offset, cells, sampling)[0, :, *inside]
    for axis, step in ((0, still[0, 0, 8, 10] - still[0, 0, 8, 9]), (1, still[0, 1, 8, 10] - still[0, 1, 7, 10])):
        torch.testing.assert_close(((moved - still)[0, axis][inside]) / step, got[axis])


def test_mean_displacement_is_weighted_by_the_mask():
    offset, mask = torch.randn(1, 2 * 6, 3, 4), torch.rand(1, 6, 3, 4)
    got = mean_displacement(offset, mask)[0]
    for row in range(3):
        for column in range(4):
            weights = mask[0, :, row, column]
            y = sum(weights[tap] * offset[0, 2 * tap, row, column] for tap in range(6)) / weights.sum()
            x = sum(weights[tap] * offset[0, 2 * tap + 1, row, column] for tap in range(6)) / weights.sum()
            torch.testing.assert_close(got[:, row, column], torch.stack((x, y)))


def test_alignseg_tells_both_fields_and_what_they_move():
    model = shake(make_model("alignseg"))
    found = explained(model).recorded
    context, *steps = found.steps
    assert context.kind == "AlignCM" and list(context.maps) == ["before", "context", "after"]
    assert context.maps["context"].shape == (3, 3) and context.fields["context"].shape == (2, 2, 3)
    assert [step.kind for step in steps] == ["AlignFA"] * 4
    for step in steps:
        assert list(step.maps) == ["coarse", "fine", "coarse, moved", "fine, moved", "fused"]
        assert {name: field.shape for name, field in step.fields.items()} == {
            "coarse map": (2, 16, 24),
            "fine map": (2, 16, 24),
        }
        np.testing.assert_allclose(step.maps["coarse, moved"] + step.maps["fine, moved"], step.out, atol=1e-5)
        assert all(np.abs(field).max() > 0 for field in step.fields.values())


def test_fapn_draws_the_mean_of_the_taps():
    model = make_model("fapn")
    for module in model.modules():
        if isinstance(module, DeformableConv):
            assert module.predict.bias is not None
            rows_columns = module.predict.bias.data[: 2 * 8 * 9].view(-1, 2)
            rows_columns[:, 0], rows_columns[:, 1] = 1.5, -2.0
    steps = explained(model).recorded.steps
    assert [step.entering for step in steps] == [((2, 3), (4, 6)), ((4, 6), (8, 12)), ((8, 12), (16, 24))]
    for step in steps:
        (field,) = step.fields.values()
        np.testing.assert_allclose(field[0], -2.0, rtol=1e-6)
        np.testing.assert_allclose(field[1], 1.5, rtol=1e-6)
        assert {"coarse, enlarged", "fine, selected", "coarse, aligned"} < set(step.maps)


def test_sfnet_tells_the_flow_in_cells():
    model = make_model("sfnet")
    seen: list[Tensor] = []
    for module in model.modules():
        if isinstance(module, AlignedModule):
            module.register_forward_hook(lambda module, inputs, _: seen.append(module.flow(*inputs)))
    steps = explained(model, input_size=(48, 80)).recorded.steps
    for step, flow in zip(steps, seen[len(steps) :], strict=True):  # the first pass is the prediction's
        height, width = flow.shape[-2:]
        scale = np.array([(width - 1) / (2 * width), (height - 1) / (2 * height)])[:, None, None]
        np.testing.assert_allclose(step.fields["coarse map"], flow[0] * scale, rtol=1e-5)


def test_implicit_function_shows_contents_and_their_sum():
    (step,) = explained(make_model("fpn", align="nearest"), input_size=(64, 96)).recorded.steps
    contents = [torch.from_numpy(step.maps[f"content of level {i}"])[None, None] for i in (1, 2, 3, 4)]
    spread = sum(F.interpolate(content, (16, 24), mode="nearest-exact") for content in contents)
    np.testing.assert_allclose(step.out, spread[0, 0], atol=1e-6)
    assert [len(maps) for maps, _ in step.rows] == [4, 4, 1]


@pytest.mark.parametrize("align", FUSES)
def test_every_fuse_is_a_step(align: str):
    found = explained(shake(make_model("semantic_fpn", align=align)))
    assert [found.levels(step) for step in found.recorded.steps] == ["32 to 16", "16 to 8", "8 to 4"]
    assert all({"coarse", "fine", "fused"} <= set(step.maps) for step in found.recorded.steps)
    stay = {"alignfa_none", "fapn_deconvolution", "fapn_none"}
    moves = align.startswith(("sfnet", "alignfa", "fapn")) and align not in stay
    assert found.has_fields is moves
    assert len(found.recorded.backbone) == 4


@pytest.mark.parametrize("align", ["carafe", "deconvolution", "upsampling"])
def test_resamplers_are_steps(align: str):
    *resamplers, function = explained(make_model("fpn", align=align)).recorded.steps
    assert [list(step.maps) for step in resamplers] == [["before", "after"]] * 3
    assert function.kind == "ImplicitFunction"


def test_a_network_that_only_interpolates_still_shows_its_maps():
    model = create_model("deeplabv3plus", align="bilinear", backbone="resnet10t", classes=3)
    found = explained(model)
    assert not found.recorded.steps and not found.has_fields
    assert [found.stride(values.shape) for values in (*found.recorded.backbone, found.encoded)] == [4, 8, 16, 32, 4]
    assert [name for name, _ in draw(found)] == ["image", "segmentation", "overview"]


class Larger(nn.Module):
    """A fuse of the user's own."""

    def __init__(self, fine_channels: int, width: int) -> None:
        super().__init__()
        self.lateral = nn.Conv2d(fine_channels, width, 1)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return torch.maximum(F.interpolate(coarse, fine.shape[-2:]), self.lateral(fine))


def test_a_fuse_of_ones_own_and_other_channels():
    found = explained(make_model("semantic_fpn", align=Larger, in_channels=5))
    assert [step.kind for step in found.recorded.steps] == ["Larger"] * 3
    assert found.image.shape == (64, 96, 3) and not found.has_fields


def test_recording_changes_nothing_and_leaves_no_hook():
    model = shake(make_model("alignseg"))
    images = torch.randn(1, 3, 40, 56)
    with torch.inference_mode():
        before = model(images)
        with recording(model) as found:
            during = model(images)
        with pytest.raises(KeyError), recording(model):
            raise KeyError
    assert torch.equal(before, during) and len(found.steps) == 5
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_files_say_level_and_module(tmp_path):
    paths = write_explanation(explained(shake(make_model("fapn_realtime", in_channels=1))), tmp_path)
    assert [path.name for path in paths] == [
        "image.png",
        "segmentation.png",
        "overview.png",
        "01-stride-32-to-16-decoder.0.fuses.1.png",
        "02-stride-16-to-8-decoder.0.fuses.0.png",
    ]
    assert sorted(paths) == sorted(tmp_path.iterdir())


def test_of_a_detector_the_pyramid_alone_is_watched():
    """Panoptic FCN has deformable convolutions in a head, too, which align nothing."""
    model = create_detector("panoptic_fcn", classes=2, things=[0], backbone="resnet10t", width=64, min_size=None).eval()
    with recording(model) as recorded, torch.no_grad():
        model([torch.from_numpy(make_image()).permute(2, 0, 1)])
    assert [step.module for step in recorded.steps] == [f"network.backbone.neck.pathway.fuses.{i}" for i in (2, 1, 0)]
    assert all(step.fields for step in recorded.steps) and len(recorded.backbone) == 4
