"""Tensors that fit another network in part: the classifier's rows by class name, the first convolution by channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from featalign.models import Segmentor, create_model
from featalign.spec import Classes
from featalign.training.network import Network


@dataclass(frozen=True)
class Adapted:
    """What a tensor becomes, and how that came about, for the report."""

    value: Tensor
    how: str


def adapt(
    name: str,
    target: Tensor,
    given: Tensor,
    *,
    here: Sequence[str],
    there: Sequence[str] | None,
    classifier: set[str],
    first: str | None,
) -> Adapted | None:
    """``given`` made to fit ``target``, or None where it fits as it is or cannot be made to.

    Args:
        name: of the tensor in the model.
        here: names of the model's classes.
        there: of those that ``given`` knows; None where nothing tells.
        classifier: names of the tensors whose rows are classes.
        first: name of the model's first convolution.
    """
    if name in classifier:
        return _by_class(target, given, here, there)
    if name == first and _other_channels(target, given):
        return Adapted(other_channels(given, target.shape[1]), f"{given.shape[1]} to {target.shape[1]} image channels")
    return None


def class_tensors(model: Network) -> set[str]:
    """Names of the tensors whose first dimension is the classes; none for a network that no configuration builds.

    They are those that change their shape in the same network for one class more. A detector's rows are of background
    too, or of classes times anchors: none of them is said to be of a class.
    """
    if not isinstance(model, Segmentor) or not model.config:
        return set()
    with torch.device("meta"):
        other = create_model(classes=len(model.classes) + 1, **{**model.config, "pretrained": False})
    here = model.state_dict()
    return {name for name, tensor in other.state_dict().items() if tensor.shape != here[name].shape}


def share_no_class(here: Sequence[str], there: Sequence[str] | None) -> bool:
    """Whether both sides name their classes, and none has the same name; numbers say nothing about that."""
    numbered = Classes.numbered(len(here)).names
    return there is not None and numbered not in (tuple(here), tuple(there)) and not set(here) & set(there)


def other_channels(weight: Tensor, channels: int) -> Tensor:
    """A first convolution (O, I, h, w) for images of ``channels``: (O, channels, h, w), by timm's rule.

    One channel gets the sum; otherwise each gets one of the kernels in turn, rescaled so that answers stay as large.
    """
    given = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, -(-channels // given), 1, 1)[:, :channels]
    return repeated * (given / channels)


def _by_class(target: Tensor, given: Tensor, here: Sequence[str], there: Sequence[str] | None) -> Adapted | None:
    if there is None or tuple(there) == tuple(here) or given.shape[1:] != target.shape[1:] or len(there) != len(given):
        return None
    shared = [(here.index(name), row) for row, name in enumerate(there) if name in here]
    if not shared:
        return None
    value = target.clone()
    for new, old in shared:
        value[new] = given[old]
    return Adapted(value, f"{len(shared)} of {len(here)} classes by name: {', '.join(here[new] for new, _ in shared)}")


def _other_channels(target: Tensor, given: Tensor) -> bool:
    return (
        given.ndim == 4
        and given.shape[1] != target.shape[1]
        and (given.shape[0], *given.shape[2:]) == (target.shape[0], *target.shape[2:])
    )
