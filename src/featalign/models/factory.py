"""Networks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from featalign.errors import ConfigError, did_you_mean
from featalign.models.fpn import fpn
from featalign.models.segmentor import Segmentor
from featalign.spec import Classes

_BUILDERS: dict[str, Callable[..., Segmentor]] = {"fpn": fpn}


def create_model(name: str, *, classes: int | Sequence[str] | Classes, **options: Any) -> Segmentor:
    """Build a network: ``create_model("fpn", align="ifa", backbone="resnet50", classes=19)``.

    Args:
        name: one of :func:`list_models`.
        classes: how many, their names, or names with colours.
        options: keyword arguments of the network's own builder, such as ``featalign.models.fpn.fpn``;
            :func:`model_options` lists them.

    Raises:
        ConfigError: for an unknown name, option or value; the message has the nearest spelling.
    """
    builder = _builder(name)
    known = model_options(name)
    for option in options:
        if option not in known:
            raise ConfigError(f'model "{name}" has no option "{option}": {did_you_mean(option, known)}')
    model = builder(_classes(classes), **options)
    model.config = {"name": name, **{key: _plain(value) for key, value in (known | options).items()}}
    return model


def list_models() -> list[str]:
    """The names that :func:`create_model` knows."""
    return sorted(_BUILDERS)


def model_options(name: str) -> dict[str, Any]:
    """The options of a network with their defaults."""
    parameters = inspect.signature(_builder(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _builder(name: str) -> Callable[..., Segmentor]:
    if name not in _BUILDERS:
        raise ConfigError(f'unknown model "{name}": {did_you_mean(name, _BUILDERS)}')
    return _BUILDERS[name]


def _classes(classes: int | Sequence[str] | Classes) -> Classes:
    if isinstance(classes, Classes):
        return classes
    if isinstance(classes, int):
        if classes < 1:
            raise ConfigError(f"classes must be at least 1, got {classes}")
        return Classes.numbered(classes)
    return Classes.named(classes)


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value
