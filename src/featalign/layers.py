"""The small layers that every network here is made of."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.ops.products import pointwise


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalization that also trains on a single value per channel, as a 1x1 map with batch 1 has.

    Such a map has no variance to normalize by; PyTorch raises. Here it is normalized by the running statistics, as in
    evaluation, and does not change them. This happens behind image-level pooling (ASPP, pyramid pooling) at batch 1.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.shape[0] * input.shape[2] * input.shape[3] == 1:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(input)


class GroupNorm(nn.GroupNorm):
    """Group normalization that also takes a single value per group, as a 1x1 map has where a group is one channel.

    PyTorch answers such maps, with the bias, in batches of two or more, and refuses them in batches of one.
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class Conv2d(nn.Conv2d):
    """A convolution whose products along the channels, if it is 1x1, are :func:`~featalign.ops.pointwise`."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        plain = self.stride == (1, 1) and self.padding == (0, 0) and self.groups == 1
        if self.kernel_size == (1, 1) and plain:
            return pointwise(input, weight, bias)
        return super()._conv_forward(input, weight, bias)


class OffsetConv2d(nn.Conv2d):
    """The convolution that predicts offsets: in single precision, or double where its weight is, also under autocast.

    Half precision knows neighbouring places of a wide map apart only to a fraction of a cell.
    """

    def forward(self, input: Tensor) -> Tensor:
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        bias = None if self.bias is None else self.bias.to(dtype)
        with without_autocast(input.device.type):
            return self._conv_forward(input.to(dtype), self.weight.to(dtype), bias)


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Autocast switched off on a device that has it; some, such as ``meta``, do not."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def conv_norm_relu(
    in_channels: int, out_channels: int, kernel: int = 1, *, dilation: int = 1, bias: bool = False
) -> nn.Sequential:
    """Convolution that keeps the size, batch normalization, ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=bias),
        BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
