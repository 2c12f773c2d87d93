"""Convolutions with TensorFlow's "same" padding in a form whose sizes stay short when a graph of any size is traced.

timm's own form (``tf_efficientnet…``, ``tf_mobilenet…``) has the size of its input several times in that of its output,
so that five strided layers make a formula of thousands of characters, and tracing takes many minutes.
"""

from __future__ import annotations

import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn


class TraceableConv2dSame(Conv2dSame):
    """The same values: (B, in_channels, h, w) to (B, out_channels, ceil(h / stride), ceil(w / stride))."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        sides = zip((height, width), self.kernel_size, self.stride, self.dilation, strict=True)
        vertical, horizontal = (_padding(*side) for side in sides)
        padded = F.pad(x, (*horizontal, *vertical))
        result = F.conv2d(padded, self.weight, self.bias, self.stride, (0, 0), self.dilation, self.groups)
        return result[..., : -(-height // self.stride[0]), : -(-width // self.stride[1])]  # all of it, said shortly


def make_traceable(model: nn.Module) -> None:
    """Give the model's convolutions with "same" padding their traceable form, in place; weights stay what they are."""
    for module in model.modules():
        if type(module) is Conv2dSame:
            module.__class__ = TraceableConv2dSame


def _padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Before and after: as little as makes the last window whole, the odd one after."""
    reach = (kernel - 1) * dilation + 1
    total = reach - stride + (-size) % stride
    if reach < stride:
        total = max(total, 0)
    return total // 2, total - total // 2
