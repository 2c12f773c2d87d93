"""What stays in single precision under autocast, on the CPU too; and that losses follow fp32."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning_fabric.plugins import MixedPrecision
from rich.console import Console

from featalign.models import create_model
from featalign.training import Recipe, load_recipe
from featalign.training.engine import HALF
from featalign.training.module import Learner
from featalign.training.run import train

NETWORKS = [
    ("fpn", {"align": "ifa"}),
    ("semantic_fpn", {"align": "fapn"}),
    ("semantic_fpn", {"align": "sfnet"}),
    ("semantic_fpn", {"align": "carafe"}),
    ("alignseg", {}),
]
BAND = 0.05
"""Largest difference of the mean loss of 20 iterations, relative to fp32's."""


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_every_aligner_learns_under_autocast_on_the_cpu(
    tiny: Callable[..., Recipe], name: str, options: dict[str, str], precision: str
) -> None:
    """The loss is fp32 and near fp32's; every gradient is finite and single precision, as the weights are."""
    torch.manual_seed(0)
    model = create_model(name, backbone="resnet10t", width=16, classes=3, **options).train()
    learner = Learner(model, tiny("training.query=points"))
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    masks = torch.randint(0, 3, (2, 64, 64))
    torch.manual_seed(1)
    exact = learner({"image": images, "mask": masks}, 0)["loss"].item()
    plugin = MixedPrecision(HALF[precision], device="cpu")
    with plugin.forward_context():
        torch.manual_seed(1)
        loss = learner({"image": images, "mask": masks}, 0)["loss"]
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact, rel=0.05)
    loss.backward()
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is None or (parameter.grad.dtype == torch.float32 and parameter.grad.isfinite().all())


@pytest.mark.slow
def test_losses_under_bf16_follow_fp32(tmp_path: Path, data_dir: Path) -> None:
    """200 iterations of a small network on CamVid: means of 20 iterations within BAND."""
    small = [
        "model.backbone=resnet10t",
        "model.width=32",
        "model.options.hidden=[64]",
        "data.crop=64",
        "data.workers=0",
    ]
    steps = ["training.iterations=200", "training.batch=4", "training.log_every=1", "data.val_split=none"]
    recipe = load_recipe("camvid/fpn_ifa_resnet18").with_overrides([*small, *steps, "data.cache=true"])
    losses = {}
    for precision in ("fp32", "bf16"):
        chosen = recipe.with_overrides([f"training.precision={precision}"])
        train(
            chosen,
            data=data_dir / "camvid-480" / "camvid",
            out=tmp_path / precision,
            device="cpu",
            console=Console(quiet=True),
        )
        losses[precision] = _means(tmp_path / precision / "log.jsonl")
    difference = (losses["bf16"] - losses["fp32"]).abs() / losses["fp32"]
    print(losses, difference)
    assert difference.max() < BAND


def _means(log: Path) -> torch.Tensor:
    """Mean loss of each 20 iterations."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return torch.tensor([row["loss"] for row in rows if row["kind"] == "train"]).view(-1, 20).mean(1)
