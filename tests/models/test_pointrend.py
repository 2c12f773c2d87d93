from __future__ import annotations

import pytest
import torch
from torch import Tensor

from featalign.models import Segmentor, create_model
from featalign.models.pointrend import PointHead


@pytest.fixture(scope="module")
def model() -> Segmentor:
    torch.manual_seed(0)
    return create_model(
        "fapn", classes=5, backbone="resnet18", width=32, head_width=32, norm="BN", point_head=True
    ).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 70, 50)


def test_the_published_head_has_its_published_size():
    head = PointHead(256, 19)
    assert sum(parameter.numel() for parameter in head.parameters()) == 3 * (275 * 256 + 256) + 275 * 19 + 19


def test_every_layer_sees_the_coarse_logits():
    torch.manual_seed(0)
    head, fine = PointHead(4, 3, hidden=8).double(), torch.randn(1, 4, 6, dtype=torch.float64)
    coarse = torch.randn(1, 3, 6, dtype=torch.float64)
    x = fine
    for layer in head.hidden:
        weight = layer.weight[..., 0]
        x = (weight @ torch.cat((x, coarse), 1)[0] + layer.bias[:, None]).clamp(min=0)[None]
    expected = head.classify.weight[..., 0] @ torch.cat((x, coarse), 1)[0] + head.classify.bias[:, None]
    torch.testing.assert_close(head(fine, coarse)[0], expected)


@torch.inference_mode()
def test_the_grid_is_answered_by_the_head_at_its_pixel_centres(model: Segmentor, images: Tensor):
    features = model.encode(images)
    grid = model.decode(features, size=(9, 7), mode="dense")
    rows, columns = (torch.arange(9) + 0.5) / 9, (torch.arange(7) + 0.5) / 7
    points = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)[None]
    torch.testing.assert_close(grid, model.query(features, points))


@torch.inference_mode()
def test_the_coarse_answer_is_that_of_the_network_without_the_head(model: Segmentor, images: Tensor):
    plain = create_model("fapn", classes=5, backbone="resnet18", width=32, head_width=32, norm="BN").eval()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("point_head.")})
    torch.testing.assert_close(model(images, mode="resized"), plain(images))
    assert not torch.equal(model(images, mode="dense"), plain(images))


def test_gradients_reach_the_pathway_through_points(model: Segmentor, images: Tensor):
    features = model.encode(images)
    model.query(features, torch.rand(1, 11, 2)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.point_head.parameters())
    assert any(
        parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.decoder.parameters()
    )
