"""Images are filled up to whole cells, and asked only where they are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from unsettled import unsettled

from featalign.models import Segmentor

NETWORKS = {
    "nearest codes": ("fpn", {"align": "ifa", "width": 16, "hidden": (24, 16)}),
    "blended codes": ("fpn", {"align": "ifa", "blend": "bilinear", "width": 16, "hidden": (24, 16)}),
    "deeplabv3plus": ("deeplabv3plus", {"align": "bilinear", "width": 16}),
    "fapn": ("fapn", {"width": 32}),
    "alignseg": ("alignseg", {"width": 16}),
    "point head": ("semantic_fpn", {"width": 32, "head_width": 32, "point_head": True}),
}
SIZE, COVERED = (45, 100), (64, 128)


@pytest.fixture(scope="module", params=NETWORKS)
def model(request: pytest.FixtureRequest) -> Segmentor:
    return unsettled(*NETWORKS[request.param])


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    """As they are, and filled up by hand."""
    own = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    return own, F.pad(own, (0, COVERED[1] - SIZE[1], 0, COVERED[0] - SIZE[0]), mode="replicate")


@pytest.mark.parametrize("mode", ["dense", "resized"])
@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("finer", [1, 3])
def test_pixels_have_the_answers_that_they_have_in_the_filled_image(model, images, mode, gradients, finer):
    own, filled = ([finer * side for side in size] for size in (SIZE, COVERED))
    with torch.set_grad_enabled(gradients):
        answer, wanted = (model(shown, size, mode) for shown, size in zip(images, (own, filled), strict=True))
    assert model.fill == 32 and answer.shape[-2:] == tuple(own)
    assert torch.allclose(answer, wanted[..., : own[0], : own[1]], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_boxes_labels_and_points_do_too(model, images):
    features, filled = (model.encode(shown) for shown in images)
    assert (features.size, features.covered) == (SIZE, COVERED) and (filled.size, filled.covered) == (COVERED, COVERED)
    whole = model.decode(filled, COVERED, "resized")
    box = (20 / 100, 9 / 45, 70 / 100, 36 / 45)
    part = model.decode(features, (27, 50), "resized", box=box)
    assert torch.allclose(part, whole[..., 9:36, 20:70], rtol=0, atol=1e-5)
    labels = model.labels(features, mode="resized")
    assert (labels == whole[..., : SIZE[0], : SIZE[1]].argmax(1)).float().mean() > 0.999
    points = torch.rand(1, 90, 2)
    scale = torch.tensor([SIZE[1] / COVERED[1], SIZE[0] / COVERED[0]])
    assert torch.allclose(
        model.query(features, points, "resized"), model.query(filled, points * scale, "resized"), rtol=0, atol=1e-4
    )


def test_every_level_has_its_stride_at_any_size():
    model = unsettled("fpn", {"width": 16, "hidden": (24,)})
    for size in ((1, 1), (1, 33), (31, 32), (32, 64)):
        with torch.inference_mode():
            features = model.encode(torch.randn(1, 3, *size))
        assert features.covered == tuple(-(-side // 32) * 32 for side in size)
        assert [tuple(level.shape[-2:]) for level in features.maps] == [
            (features.covered[0] // stride, features.covered[1] // stride) for stride in features.strides
        ]


def test_the_coarsest_map_decides_also_where_it_is_not_among_the_levels():
    """A network whose only level has stride 4, and has seen stride 32; one that is dilated to 8, one to 16."""
    assert unsettled("semantic_fpn", {"width": 32, "head_width": 32}).fill == 32
    assert unsettled("pspnet", {"width": 16}).fill == 8
    assert unsettled("deeplabv3plus", {"width": 16, "output_stride": 16}).fill == 16


def test_a_network_can_be_shown_images_as_they_are(images):
    model = unsettled("fpn", {"width": 16, "hidden": (24,)})
    model.fill = 1
    with torch.inference_mode():
        features = model.encode(images[0])
        finest = model.answer_grid(features)
        assert features.covered == SIZE and finest.shape[-2:] == (12, 25)
        stretched = F.interpolate(finest, SIZE, mode="bilinear")
        assert torch.allclose(model.decode(features, mode="resized"), stretched, rtol=0, atol=1e-5)


def test_the_auxiliary_answer_lies_over_the_image(images):
    model = unsettled("fpn", {"width": 16, "hidden": (24,)}).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    features = model.encode(images[0])
    coarse = model.auxiliary_logits(features)
    over = model.auxiliary_logits(features, SIZE)
    wanted = F.interpolate(coarse, COVERED, mode="bilinear")[..., : SIZE[0], : SIZE[1]]
    assert torch.allclose(over, wanted, rtol=0, atol=1e-5)
