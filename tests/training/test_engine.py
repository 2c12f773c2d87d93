from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from featalign.errors import ConfigError
from featalign.inference.devices import choose_device
from featalign.training.engine import device_type, open_fabric
from featalign.training.world import World


@pytest.mark.parametrize(("cuda", "chosen"), [(True, "cuda"), (False, "cpu")])
def test_apples_device_is_used_only_when_named(monkeypatch: pytest.MonkeyPatch, cuda: bool, chosen: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device_type("auto") == choose_device("auto").type == chosen
    assert device_type("mps") == "mps"


@pytest.mark.parametrize(
    ("device", "message"),
    [("tpu", "expected auto, cpu"), ("mps", "there is none on this machine")],
)
def test_devices_that_cannot_train(monkeypatch: pytest.MonkeyPatch, device: str, message: str) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=message):
        device_type(device)


class Seen(nn.Module):
    """Keeps what it is given, and answers by a product of it."""

    def __init__(self) -> None:
        super().__init__()
        self.product = nn.Linear(4, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        self.batch, self.answer = batch, self.product(batch["boxes"])
        return self.answer


@pytest.mark.parametrize(("precision", "half"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_batches_are_not_rounded_under_autocast(precision: str, half: torch.dtype) -> None:
    """Boxes and images of 16 bits are numbers that neither type of half precision has."""
    network, boxes = Seen(), torch.tensor([[1001.3, 2.7, 1023.9, 700.1]])
    fabric = open_fabric(World(), device="cpu", precision=precision)
    fabric.setup_module(network)({"boxes": boxes})
    assert network.answer.dtype == half
    assert torch.equal(network.batch["boxes"], boxes)
