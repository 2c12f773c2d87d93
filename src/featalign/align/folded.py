"""The layers of an implicit function as evaluation computes them: few products, with the batch norms folded in."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from featalign.layers import BatchNorm2d


class Folded(NamedTuple):
    """The layers of an implicit function with its batch norms folded in; matrices are (in, out).

    ``content``: per level; ``position``: of all codes together; ``layers``: after the first non-linearity.
    """

    content: list[Tensor]
    position: Tensor
    bias: Tensor
    layers: list[tuple[Tensor, Tensor]]

    @property
    def widths(self) -> list[int]:
        return [self.bias.shape[0], *(bias.shape[0] for _, bias in self.layers)]


def foldable(content: Iterable[nn.Module], position: nn.Module | None, mlp: Iterable[nn.Module]) -> bool:
    """Whether :func:`fold` computes what these modules do: every one is of the kind that it knows, and as it was built.

    A layer that was replaced, frozen into another kind, or hooked into (as weight normalization of the older form does)
    answers by itself instead.
    """
    first, *others = content
    if not _is_product(first, bias=True) or not all(_is_product(block, bias=False) for block in others):
        return False
    if position is not None and not (_untouched(position, nn.Linear.forward) and position.bias is None):
        return False
    *layers, last = mlp
    known = (_is_norm, _is_relu, partial(_is_product, bias=True))
    return (
        len(layers) % 3 == 2
        and all(known[i % 3](layer) for i, layer in enumerate(layers))
        and _is_product(last, bias=True)
    )


def fold(content: Iterable[nn.Module], position: nn.Linear | None, mlp: nn.Sequential, dtype: torch.dtype) -> Folded:
    """Fold what :class:`~featalign.align.ImplicitFunction` is made of, in ``dtype``."""
    blocks = [block for block in content if isinstance(block, nn.Conv2d)]
    norms = [layer for layer in mlp if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    convolutions = [layer for layer in mlp if isinstance(layer, nn.Conv2d)]
    scale, shift = _affine(norms[0])
    first = [block.weight.flatten(1).T * scale for block in blocks]
    codes = first[0][:0] if position is None else position.weight.T * scale
    layers = []
    for i, layer in enumerate(convolutions):
        weight, bias = layer.weight.flatten(1).T, _bias(layer)
        if i + 1 < len(norms):
            factor, offset = _affine(norms[i + 1])
            weight, bias = weight * factor, bias * factor + offset
        layers.append((weight.to(dtype).contiguous(), bias.to(dtype)))
    bias = _bias(blocks[0]) * scale + shift
    return Folded([weight.to(dtype) for weight in first], codes.to(dtype), bias.to(dtype), layers)


def _untouched(layer: nn.Module, *forwards: object) -> bool:
    """Whether one of ``forwards`` is all that happens in ``layer``."""
    hooked = layer._forward_hooks or layer._forward_pre_hooks
    return not hooked and type(layer).forward in forwards and "forward" not in vars(layer)


def _is_product(layer: nn.Module, *, bias: bool) -> bool:
    """Whether ``layer`` is a 1x1 convolution, with or without a bias."""
    if not isinstance(layer, nn.Conv2d) or not _untouched(layer, nn.Conv2d.forward):
        return False
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.groups)
    return shape == ((1, 1), (1, 1), (0, 0), 1) and (layer.bias is not None) == bias


def _is_norm(layer: nn.Module) -> bool:
    """Whether ``layer`` is a batch normalization in evaluation, with statistics, weight and bias."""
    if not isinstance(layer, nn.modules.batchnorm._BatchNorm) or layer.training:
        return False
    plain = _untouched(layer, BatchNorm2d.forward, nn.BatchNorm2d.forward, nn.SyncBatchNorm.forward)
    return plain and layer.running_mean is not None and layer.affine


def _is_relu(layer: nn.Module) -> bool:
    return isinstance(layer, nn.ReLU) and _untouched(layer, nn.ReLU.forward)


def _affine(norm: nn.modules.batchnorm._BatchNorm) -> tuple[Tensor, Tensor]:
    """Factor and shift of a batch normalization in evaluation."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
