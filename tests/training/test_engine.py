from __future__ import annotations

import pytest
import torch

from featalign.errors import ConfigError
from featalign.inference.devices import choose_device
from featalign.training.engine import device_type


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
