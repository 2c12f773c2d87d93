"""Contexts by name, for the coarsest map of a pathway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from featalign.context.aligncm import AlignCM
from featalign.context.aspp import ASPP
from featalign.context.psp import PyramidPooling
from featalign.context.rcca import RCCA
from featalign.errors import ConfigError, did_you_mean

ContextName = Literal["aspp", "psp", "rcca", "aligncm"]
Build = Callable[[int, int], nn.Module]  # (in_channels, width) to a module (B, in_channels, h, w) -> (B, width, h, w)


def _aspp(in_channels: int, width: int) -> nn.Module:
    return ASPP(in_channels, width, inner=width)


def _rcca(in_channels: int, width: int) -> nn.Module:
    return RCCA(in_channels, width, inner=max(1, in_channels // 4))


CONTEXTS: dict[ContextName, Build] = {"aspp": _aspp, "psp": PyramidPooling, "rcca": _rcca, "aligncm": AlignCM}


def context_factory(name: ContextName) -> Build:
    """What builds the context of a name. Raises ConfigError for an unknown one."""
    if name not in CONTEXTS:
        raise ConfigError(f'unknown context "{name}": {did_you_mean(name, ["none", *CONTEXTS])}')
    return CONTEXTS[name]
