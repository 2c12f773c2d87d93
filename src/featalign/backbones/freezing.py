"""Parts of a backbone that stay as they are, as detectors keep them: the first stages, the batch normalization."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import nn

from featalign.backbones.pyramid import Pyramid
from featalign.errors import ConfigError, check_count


def freeze_norms(backbone: Pyramid) -> None:
    """Batch normalization by the stored statistics, which become constants, as do its scales and shifts.

    For weights that were trained elsewhere: batches of detection are too small to normalize by. Other normalizations
    are left as they are.
    """
    backbone.body = freeze_batch_norm_2d(backbone.body)


def freeze_levels(backbone: Pyramid, count: int) -> None:
    """The ``count`` finest maps and all that they are made from stop learning; their norms as in :func:`freeze_norms`.

    1 is the stem and the first stage of a network of stages. Where the finest map is made last, as in HRNet, that is
    nearly everything.

    Raises:
        ConfigError: if there are not so many maps.
    """
    check_count(frozen_levels=count, least=0)
    if count > len(backbone.strides):
        raise ConfigError(f"frozen_levels must be 0 … {len(backbone.strides)} of this backbone's maps, got {count}")
    if count:
        for parameter in _sources(backbone, count):
            parameter.requires_grad_(False)
        for parent in list(backbone.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.BatchNorm2d) and not child.weight.requires_grad:
                    parent.add_module(name, freeze_batch_norm_2d(child))


def _sources(backbone: Pyramid, count: int) -> Iterator[nn.Parameter]:
    """The parameters on which the finest ``count`` maps depend: those that get a gradient from them (tried once).

    No list of stages has to be known for it, whatever timm's network looks like inside.
    """
    parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    side = 2 * max(backbone.strides)
    was_training = backbone.training
    with torch.enable_grad():
        images = torch.zeros(1, backbone.in_channels, side, side, device=parameters[0].device)
        maps = backbone.eval()(images)[:count]
        gradients = torch.autograd.grad([level.sum() for level in maps], parameters, allow_unused=True)
    backbone.train(was_training)
    return (p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None)
