"""Weights of a backbone from a file of one's own, where nothing can be downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from timm.models import load_state_dict
from torch import Tensor, nn

from featalign.errors import ConfigError, said


def pretrained_options(pretrained: bool | str) -> dict[str, Any]:
    """What timm is told: to download its weights, to read a file of them, or neither.

    Raises:
        ConfigError: for anything else, or if there is no such file.
    """
    if isinstance(pretrained, bool):
        return {"pretrained": pretrained}
    expected = "expected true, false, or the path of timm weights (.safetensors, .pth)"
    if not isinstance(pretrained, str):
        raise ConfigError(f"pretrained: {expected}, got {pretrained!r}")
    if not Path(pretrained).is_file():
        raise ConfigError(f"pretrained: no file {pretrained}; {expected}")
    return {"pretrained": True, "pretrained_cfg_overlay": {"file": pretrained, "hf_hub_id": None, "url": ""}}


@contextmanager
def fitting(name: str, pretrained: bool | str) -> Iterator[None]:
    """While timm builds backbone ``name`` with weights from a file: what it stumbles over, as a ConfigError."""
    try:
        yield
    except Exception as error:  # of unpickling, of safetensors, of timm's renaming, of shapes
        if not isinstance(pretrained, str):
            raise
        raise ConfigError(
            f'{pretrained}: not weights of backbone "{name}" ({said(error)}); expected a file of timm weights of the '
            "same backbone, .safetensors or .pth"
        ) from error


Mark = tuple[tuple[int, ...], float]
"""Shape and sum, by which a tensor is known under any name: timm may rename them."""


def marks_of(file: str) -> set[Mark]:
    """The tensors of a file of weights. It is read as weights alone, so nothing in it can run."""
    weights = load_state_dict(file, weights_only=True)
    return {_mark(tensor) for tensor in weights.values() if isinstance(tensor, Tensor)}


def check_loaded(body: nn.Module, name: str, file: str, given: set[Mark]) -> None:
    """Raises ConfigError if less than half of the weights of ``body`` are ``given`` by ``file``.

    timm leaves out what does not fit without a word.
    """
    weights = [parameter for parameter in body.parameters() if parameter.ndim > 1]
    found = sum(_mark(weight) in given for weight in weights)
    if 2 * found < len(weights):
        raise ConfigError(
            f'{file}: only {found} of the {len(weights)} weights of backbone "{name}" are in it; '
            "expected a file of timm weights of the same backbone"
        )


@torch.no_grad()
def _mark(tensor: Tensor) -> Mark:
    return tuple(tensor.shape), tensor.double().sum().item()
