"""Boxes of torchvision's detectors in single precision, also under autocast.

There anchors take the dtype of the maps and decoded boxes that of the codes: in bf16 a box beyond 1024 pixels lies on a
multiple of 8, in fp16 on a whole pixel. Here the heads compute in half precision, and what they answer is made float32
before anything becomes a position.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead

Module = TypeVar("Module", bound=nn.Module)
_HEADS = (RPNHead, FastRCNNPredictor, RetinaNetHead, FCOSHead)


def with_single_boxes(network: Module) -> Module:
    """The network, changed in place: its anchors, and what its heads say of boxes and classes, in float32 at least."""
    for module in network.modules():
        if isinstance(module, AnchorGenerator):
            module.register_forward_pre_hook(_single_maps)
        elif isinstance(module, _HEADS):
            module.register_forward_hook(_single_answers)
    return network


def _single_maps(module: nn.Module, inputs: tuple[Any, list[Tensor]]) -> tuple[Any, list[Tensor]]:
    """Anchors depend on the shapes of the maps alone: one value stands for each map."""
    images, maps = inputs
    return images, [_single(x.new_zeros(())).expand(x.shape) for x in maps]


def _single_answers(module: nn.Module, inputs: tuple[Any, ...], answers: Any) -> Any:
    if isinstance(answers, dict):
        return {name: _single(x) for name, x in answers.items()}
    return tuple([_single(y) for y in x] if isinstance(x, list) else _single(x) for x in answers)


def _single(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
