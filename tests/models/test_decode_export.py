"""Networks with an implicit function as exported programs: one graph for every image size and every answer size."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from featalign.models import Segmentor, create_model


class Sized(nn.Module):
    """The answer at the size of a second input, so that it is an input of the graph."""

    def __init__(self, model: Segmentor, mode: Literal["dense", "resized"]) -> None:
        super().__init__()
        self.model, self.mode = model, mode

    def forward(self, images: Tensor, like: Tensor) -> Tensor:
        return self.model(images, size=(like.shape[0], like.shape[1]), mode=self.mode)


@pytest.mark.parametrize("blend", ["nearest", "bilinear"])
@pytest.mark.parametrize("mode", ["dense", "resized"])
def test_one_program_answers_every_size(blend, mode):
    torch.manual_seed(0)
    model = create_model("fpn", classes=4, align="ifa", blend=blend, backbone="resnet10t", width=8, hidden=(16, 8))
    model.eval()
    sides = {"images": {2: 32 * Dim("h"), 3: 32 * Dim("w")}, "like": {0: Dim("rows"), 1: Dim("columns")}}
    with torch.no_grad():
        program = torch.export.export(
            Sized(model, mode), (torch.randn(1, 3, 64, 96), torch.empty(40, 52)), dynamic_shapes=sides
        ).module()
        for size, answer in (((64, 96), (40, 52)), ((96, 160), (97, 33)), ((128, 64), (128, 64))):
            images = torch.randn(1, 3, *size)
            got = program(images, torch.empty(answer))
            assert torch.allclose(got, model(images, size=answer, mode=mode), rtol=0, atol=1e-5)
