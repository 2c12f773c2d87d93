"""Every network's answer in pieces: labels, boxes, memory, and the adaptive mode."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from unsettled import unsettled

from featalign.errors import ConfigError
from featalign.models import Segmentor, create_model
from featalign.models.asking import pixel_points
from featalign.ops import pixel_axis
from featalign.ops.sampling import sample_at

NETWORKS = [
    ("fpn", {"align": "ifa", "width": 16, "hidden": (24, 16)}),
    ("fpn", {"align": "ifa", "blend": "bilinear", "width": 16, "hidden": (24, 16)}),
    ("semantic_fpn", {"width": 32, "head_width": 32}),
    ("semantic_fpn", {"width": 32, "head_width": 32, "point_head": True}),
]
MODES = ["dense", "resized", "adaptive"]
SIZE = (48, 80)
_METER = importlib.util.spec_from_file_location("held", Path(__file__).parents[2] / "benchmarks/held.py")
held = importlib.util.module_from_spec(_METER)
_METER.loader.exec_module(held)


@pytest.fixture(params=NETWORKS, ids=["nearest", "blend", "one grid", "point head"], scope="module")
def model(request: pytest.FixtureRequest) -> Segmentor:
    return unsettled(*request.param)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("mode", ["dense", "resized"])
@pytest.mark.parametrize("gradients", [True, False])
def test_grids_that_share_centres_share_answers(model, images, mode, gradients):
    """Every pixel of a grid is the middle one of nine in the grid three times as fine."""
    with torch.set_grad_enabled(gradients):
        features = model.encode(images)
        coarse, fine = model.decode(features, (19, 26), mode), model.decode(features, (57, 78), mode)
    assert torch.allclose(fine[..., 1::3, 1::3], coarse, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@torch.inference_mode()
def test_an_image_is_answered_alike_in_any_batch(model, images, mode):
    together = model(images, (61, 83), mode)
    for image, logits in zip(images, together, strict=True):
        assert torch.allclose(model(image[None], (61, 83), mode)[0], logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("box", [None, (0.2, 0.1, 0.75, 0.9)])
@pytest.mark.parametrize("gradients", [True, False])
def test_resizing_is_as_exact_as_the_network(images, box, gradients):
    model = unsettled("semantic_fpn", {"width": 32, "head_width": 32}).double()
    with torch.set_grad_enabled(gradients):
        features = model.encode(images.double())
        whole = F.interpolate(features.maps[0], (40, 72), mode="bilinear")[:, :, :30, :60]  # of 64 x 96 pixels, 48 x 80
        wanted = whole if box is None else whole[:, :, 3:27, 12:45]
        assert torch.allclose(model.decode(features, wanted.shape[-2:], "resized", box=box), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@torch.inference_mode()
def test_labels_are_the_largest_logits(model, images, mode):
    features = model.encode(images)
    logits, labels = model.decode(features, (61, 83), mode), model.labels(features, (61, 83), mode)
    assert labels.dtype == torch.uint8
    assert torch.equal(labels.long(), logits.argmax(1))
    pieces = model.labels(features, (61, 83), mode, max_memory=600_000)
    assert (pieces == labels).float().mean() > 0.999  # other tiles round differently: only ties may change


@pytest.mark.parametrize("mode", ["dense", "resized"])
@torch.inference_mode()
def test_little_memory_changes_nothing(model, images, mode):
    features = model.encode(images)
    whole = model.decode(features, (90, 150), mode)
    assert torch.allclose(model.decode(features, (90, 150), mode, max_memory=600_000), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["dense", "resized"])
@torch.inference_mode()
def test_too_little_memory_is_told_in_the_numbers_that_are_given(images, mode):
    model = unsettled(*NETWORKS[2 if mode == "resized" else 1])
    features = model.encode(images)
    with pytest.raises(ConfigError, match=r"max_memory of 700 bytes is too little: one pixel needs \d+") as caught:
        model.decode(features, SIZE, mode, max_memory=700)
    needed = int(str(caught.value).split()[-1])
    assert model.decode(features, SIZE, mode, max_memory=needed).shape == (2, 5, *SIZE)
    with pytest.raises(ConfigError, match=f"max_memory of {needed - 1} bytes .* needs {needed}"):
        model.decode(features, SIZE, mode, max_memory=needed - 1)


@torch.inference_mode()
def test_little_memory_asks_as_many_in_each_part(model, images):
    features = model.encode(images)
    resized = model.decode(features, (90, 150), "resized")
    whole = model.decode(features, (90, 150), "adaptive", effort=0.2)
    parts = model.decode(features, (90, 150), "adaptive", effort=0.2, max_memory=600_000)
    asked = [((logits - resized).abs() > 1e-5).any(1).float().mean().item() for logits in (whole, parts)]
    assert asked[1] <= 0.2 + 1e-6 and asked[0] == pytest.approx(asked[1], abs=0.01)
    own = model.answers(features, None)
    if own is not None:
        dense = model.decode(features, (90, 150), "dense")
        changed = ((parts - resized).abs() > 1e-5).any(1, keepdim=True)
        assert torch.allclose(parts, torch.where(changed, dense, resized), rtol=0, atol=1e-4)


@pytest.mark.parametrize("mode", ["dense", "resized"])
@pytest.mark.parametrize("gradients", [True, False])
def test_a_box_is_a_crop(model, images, mode, gradients):
    box = (13 / 80, 11 / 48, 70 / 80, 40 / 48)
    with torch.set_grad_enabled(gradients):
        features = model.encode(images)
        whole = model.decode(features, SIZE, mode)
        assert torch.allclose(model.decode(features, None, mode, box=box), whole[:, :, 11:40, 13:70], rtol=0, atol=1e-5)
        assert model.decode(features, (9, 200), mode, box=box).shape == (2, 5, 9, 200)


@pytest.mark.parametrize("mode", ["auto", "dense", "resized"])
@torch.inference_mode()
def test_query_in_chunks_is_query(model, images, mode):
    features, points = model.encode(images), torch.rand(1, 90, 100, 2)
    whole = model.query(features, points, mode)
    assert whole.shape == (2, 5, 90, 100)
    assert torch.allclose(model.query(features, points, mode, max_memory=500_000), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["dense", "resized"])
@pytest.mark.parametrize("gradients", [True, False])
def test_a_pixel_is_a_point(model, images, mode, gradients):
    with torch.set_grad_enabled(gradients):
        features = model.encode(images)
        grid = model.decode(features, (29, 31), mode)
        points = model.query(features, pixel_points(pixel_axis(29), pixel_axis(31), grid.device), mode)
    assert torch.allclose(points.unflatten(2, (29, 31)), grid, rtol=0, atol=1e-3)  # positions as floats, not fractions


@torch.inference_mode()
def test_points_are_asked_as_whole_images_are(model, images):
    """Beyond the outermost centres, too; and where pixels in doubt are asked themselves, points are."""
    features, points = model.encode(images), torch.rand(1, 200, 2)
    points[0, :4] = torch.tensor([[0.0, 0.0], [1, 1], [0, 1], [0.5, 1]])
    own = "resized" if model.auto_mode == "resized" else "dense"
    answers = {mode: model.query(features, points, mode) for mode in ("auto", "dense", "resized")}
    assert torch.equal(answers["auto"], answers[own])
    assert torch.allclose(
        answers["resized"], sample_at(model.native(features), features.placed(points)), rtol=0, atol=1e-3
    )
    has_own = model.implicit is not None or model.point_values > 0
    assert torch.allclose(answers["dense"], answers["resized"], rtol=0, atol=1e-3) != has_own


@pytest.mark.parametrize(("mode", "message"), [("adaptive", "pixels of a grid"), ("densse", "dense")])
def test_points_have_no_other_modes(model, images, mode, message):
    with pytest.raises(ConfigError, match=message):
        model.query(model.encode(images), torch.rand(1, 4, 2), mode)


@torch.inference_mode()
def test_effort_goes_from_the_resized_answer_to_the_dense_one(images):
    model = unsettled(*NETWORKS[1])
    features = model.encode(images)
    dense, resized = model.decode(features, (96, 160), "dense"), model.decode(features, (96, 160), "resized")
    assert torch.equal(model.decode(features, (96, 160), "adaptive", effort=0), resized)
    assert torch.allclose(model.decode(features, (96, 160), "adaptive", effort=1), dense, rtol=0, atol=1e-5)
    equal = []
    for effort in (0.0, 0.05, 0.1, 0.3):
        logits = model.decode(features, (96, 160), "adaptive", effort=effort)
        changed = (logits != resized).any(1).float().mean()
        assert changed <= effort
        equal.append((logits.argmax(1) == dense.argmax(1)).float().mean().item())
    assert equal == sorted(equal) and equal[-1] > equal[0]


@torch.inference_mode()
def test_adaptive_asks_where_two_classes_are_nearly_equal(images):
    model = unsettled(*NETWORKS[1])
    features = model.encode(images[:1])
    resized = model.decode(features, (96, 160), "resized")
    asked = (model.decode(features, (96, 160), "adaptive", effort=0.1) != resized).any(1)
    best = resized.topk(2, 1).values
    margin = best[:, 0] - best[:, 1]
    assert margin[asked].max() <= margin[~asked].min() + 1e-5


@pytest.mark.parametrize("mode", ["auto", *MODES])
@pytest.mark.parametrize("gradients", [True, False])
def test_shapes_alone(model, mode, gradients):
    empty = copy.deepcopy(model).to("meta")
    with torch.set_grad_enabled(gradients):
        features = empty.encode(torch.empty(2, 3, *SIZE, device="meta"))
        assert empty.decode(features, (9, 7), mode).shape == (2, 5, 9, 7)
        labels = empty.labels(features, (9, 7), mode)
    assert labels.shape == (2, 9, 7) and labels.dtype == torch.uint8 and labels.is_meta


@pytest.mark.parametrize("arguments", [{"effort": 1.1}, {"effort": -0.1}])
def test_wrong_effort(model, images, arguments):
    with pytest.raises(ValueError, match=r"effort must be within 0 … 1"):
        model.decode(model.encode(images), mode="adaptive", **arguments)


def test_one_class_leaves_no_doubt():
    model = create_model("fpn", classes=1, backbone="resnet10t", width=8, hidden=(12,)).eval()
    with torch.no_grad():
        features = model.encode(torch.randn(1, 3, 40, 56))
    plain = model.decode(features, mode="resized")
    assert torch.equal(model.decode(features, mode="adaptive"), plain)
    assert not model.labels(features, mode="adaptive").any()


def test_adaptive_is_for_evaluation(images):
    model = unsettled(*NETWORKS[0]).train()
    with pytest.raises(ValueError, match="for evaluation"):
        model.decode(model.encode(images), mode="adaptive")


@pytest.mark.parametrize("network", NETWORKS[:2], ids=["nearest", "blend"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("budget", [2 << 20, 6 << 20])
@torch.inference_mode()
def test_memory_is_held_to(network, mode, budget):
    model = unsettled(*network)
    features = model.encode(torch.randn(1, 3, 128, 256))
    with held.Held() as meter:
        labels = model.labels(features, (256, 512), mode, max_memory=budget)
    weights = 4 * sum(parameter.numel() for parameter in model.decoder.function.parameters())
    assert meter.peak - labels.nbytes <= budget + 2 * weights
    assert meter.peak - labels.nbytes > budget / 50  # the meter works


@pytest.mark.parametrize("gradients", [True, False])
def test_no_points_have_no_answers(model, images, gradients):
    with torch.set_grad_enabled(gradients):
        features = model.encode(images)
        assert model.query(features, torch.rand(1, 0, 2)).shape == (2, 5, 0)
        answers = model.query(features, torch.rand(2, 3, 0, 2))
    assert answers.shape == (2, 5, 3, 0) and answers.requires_grad == gradients
    assert answers.dtype == model.query(features, torch.rand(1, 1, 2)).dtype


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.rand(3, 4, 2), r"points \(3, 4, 2\) for a batch of 2; expected \(2 or 1, …, 2\)"),
        (torch.rand(1, 4, 3), r"points \(1, 4, 3\)"),
        (torch.rand(4, 2), r"points \(4, 2\)"),
        (torch.tensor([[[0.5, float("nan")]]]), "nan or infinity"),
        (torch.tensor([[[0.5, float("inf")]]]), "nan or infinity"),
    ],
)
def test_points_that_are_none(model, images, gradients, points, message):
    with torch.set_grad_enabled(gradients):
        features = model.encode(images)
        with pytest.raises(ValueError, match=message):
            model.query(features, points)
        with pytest.raises(ValueError, match="for a batch of 1; expected"):
            model.query(model.encode(images[:1]), torch.rand(2, 4, 2))
