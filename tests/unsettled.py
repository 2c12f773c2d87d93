"""Small networks whose batch norms do something, as those of trained networks do."""

from __future__ import annotations

import torch
from torch import nn

from featalign.models import Segmentor, create_model


def unsettled(name: str, options: dict[str, object]) -> Segmentor:
    """A network of five classes on ResNet-10, for evaluation, with drawn statistics in its batch norms."""
    torch.manual_seed(0)
    model = create_model(name, classes=5, backbone="resnet10t", **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 2)
    return model.eval()
