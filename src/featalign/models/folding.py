"""Batch norms folded into the convolutions before them: the same answers in evaluation, with less to compute.

Which norm follows which convolution is found by looking: a small image is sent through the network, and a norm whose
input is the very output of a convolution belongs to it. Afterwards both networks answer the same image, so a
convolution whose output somebody else reads too cannot slip through.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from featalign.align import ImplicitFunction
from featalign.errors import ConfigError
from featalign.models.network import SegmentationNetwork

_TRIAL = (65, 97)  # rows and columns of the image: odd, and two cells and a bit of the coarsest map
_TOLERANCE = 1e-3  # of the largest logit: rounding in float32 stays far below

Pairs = dict[_BatchNorm, nn.Conv2d]
N = TypeVar("N", bound=SegmentationNetwork)


def folded(model: N) -> N:
    """A copy for evaluation without the batch norms that directly follow a convolution.

    Implicit functions stay as they are: they fold their own norms at every call. The auxiliary head is left out.

    Raises:
        ConfigError: if the answers are not the same, because a convolution that a norm follows is read elsewhere too.
    """
    result = copy.deepcopy(model).eval().requires_grad_(False)
    result.auxiliary = None
    image = torch.randn(1, model.in_channels, *_TRIAL, generator=torch.Generator().manual_seed(0))
    image = image.to(next(model.parameters()))
    with torch.no_grad():
        wanted, pairs = _logits_and_pairs(result, image)
    names = {module: name for name, module in result.named_modules()}
    for norm, convolution in pairs.items():
        _fold(norm, convolution)
        result.set_submodule(names[norm], getattr(norm, "act", None) or nn.Identity())  # timm's norms may end in one
    _check(wanted, result, image)
    result.folded = True
    return result


def _logits_and_pairs(model: SegmentationNetwork, image: Tensor) -> tuple[Tensor, Pairs]:
    """The logits of an image, and each norm with the convolution that alone feeds it."""
    made: dict[Tensor, nn.Conv2d] = {}
    fed: dict[_BatchNorm, set[nn.Conv2d | None]] = {}

    def convolved(module: nn.Module, _: Any, output: Tensor) -> None:
        made[output] = module  # type: ignore[assignment]  # only convolutions are listened to

    def normalized(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        fed.setdefault(module, set()).add(made.get(inputs[0]))  # type: ignore[arg-type]  # only norms are

    with ExitStack() as listening:
        for module in _outside_implicit_functions(model):
            if isinstance(module, nn.Conv2d):
                listening.callback(module.register_forward_hook(convolved).remove)
            elif isinstance(module, _BatchNorm):
                listening.callback(module.register_forward_pre_hook(normalized).remove)
        logits = model.native(model.encode(image))
    return logits, _alone(fed)


def _alone(fed: dict[_BatchNorm, set[nn.Conv2d | None]]) -> Pairs:
    """The norms that a single convolution feeds, which feeds no other norm."""
    sources = [convolution for feeders in fed.values() for convolution in feeders]
    pairs: Pairs = {}
    for norm, feeders in fed.items():
        (convolution, *others) = feeders
        if convolution is not None and not others and sources.count(convolution) == 1:
            pairs[norm] = convolution
    return pairs


def _outside_implicit_functions(model: nn.Module) -> Iterator[nn.Module]:
    yield model
    for child in model.children():
        if not isinstance(child, ImplicitFunction):
            yield from _outside_implicit_functions(child)


def _fold(norm: _BatchNorm, convolution: nn.Conv2d) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    convolution.requires_grad_(False)


def _check(wanted: Tensor, model: SegmentationNetwork, image: Tensor) -> None:
    with torch.no_grad():
        found = model.native(model.encode(image))
    difference, largest = (found - wanted).abs().max().item(), wanted.abs().max().item()
    if not difference <= _TOLERANCE * max(largest, 1.0):
        raise ConfigError(
            f"batch norms cannot be folded: logits differ by {difference:.2g} (the largest is {largest:.2g}); "
            "a convolution before a norm is used elsewhere too; run the network as it is"
        )
