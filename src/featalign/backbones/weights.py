"""Weights of a backbone from a file of one's own, where nothing can be downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from timm.models import load_state_dict
from torch import Tensor, nn

from featalign.errors import ConfigError


def pretrained_options(pretrained: bool | str) -> dict[str, Any]:
    """What timm is told: to download its weights, to read a file of them, or neither.

    Raises:
        ConfigError: if there is no such file.
    """
    if isinstance(pretrained, bool):
        return {"pretrained": pretrained}
    if not Path(pretrained).is_file():
        raise ConfigError(
            f"pretrained: no file {pretrained}; expected true, false, or the path of timm weights (.safetensors, .pth)"
        )
    return {"pretrained": True, "pretrained_cfg_overlay": {"file": pretrained, "hf_hub_id": None, "url": ""}}


@contextmanager
def fitting(name: str, pretrained: bool | str) -> Iterator[None]:
    """While timm builds backbone ``name`` with weights from a file: what it stumbles over, as a ConfigError."""
    try:
        yield
    except Exception as error:  # of unpickling, of safetensors, of timm's renaming, of shapes
        if not isinstance(pretrained, str):
            raise
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f'{pretrained}: not weights of backbone "{name}" ({first}); expected a file of timm weights of the same '
            "backbone, .safetensors or .pth"
        ) from error


@torch.no_grad()
def check_loaded(body: nn.Module, name: str, file: str) -> None:
    """Raises ConfigError if less than half of the weights of ``body`` come from ``file``.

    timm leaves out what does not fit without a word. Tensors are known by shape and sum: it may rename them.
    """
    given = {_mark(tensor) for tensor in load_state_dict(file).values() if isinstance(tensor, Tensor)}
    weights = [parameter for parameter in body.parameters() if parameter.ndim > 1]
    found = sum(_mark(weight) in given for weight in weights)
    if 2 * found < len(weights):
        raise ConfigError(
            f'{file}: only {found} of the {len(weights)} weights of backbone "{name}" are in it; '
            "expected a file of timm weights of the same backbone"
        )


def _mark(tensor: Tensor) -> tuple[tuple[int, ...], float]:
    return tuple(tensor.shape), tensor.double().sum().item()
