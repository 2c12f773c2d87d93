"""Recipes that say only what they change of another one: ``base: ifa/cityscapes_fpn_ifa_resnet50``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from featalign.errors import ConfigError

BASE = "base"
_OWN = ("summary", "published", "measured")
"""What a recipe never has from its base."""


def inherited(content: Any, read: Callable[[str], Any], *, source: str) -> Any:
    """``content`` with everything that it leaves to its base, and the base to its own, filled in.

    Sections and the options in them are merged key by key, all else is replaced; null in ``options`` takes an option
    of the base away. Summary and results are a recipe's own.

    Args:
        content: what a recipe's file holds; returned as it is if it names no base.
        read: a recipe's name to what its file holds.
        source: what messages call the recipe.

    Raises:
        ConfigError: if a base is no recipe, or is its own base.
    """
    line = [source]
    layers = []
    while isinstance(content, dict) and BASE in content:
        name = content[BASE]
        if not isinstance(name, str):
            raise ConfigError(f"{line[-1]}: base: expected the name of a recipe, got {name!r}")
        if name in line:
            raise ConfigError(f"{source}: base: {' -> '.join([*line, name])} goes round in a circle")
        layers.append({key: value for key, value in content.items() if key != BASE})
        line.append(name)
        content = read(name)
    if not layers or not isinstance(content, dict):
        return content
    merged = {key: value for key, value in content.items() if key not in _OWN}
    for layer in reversed(layers):
        merged = _merged({key: value for key, value in merged.items() if key not in _OWN}, layer)
    return merged


def _merged(base: dict[str, Any], change: dict[str, Any], *, options: bool = False) -> dict[str, Any]:
    result = dict(base)
    for key, value in change.items():
        under = result.get(key)
        if isinstance(value, dict) and isinstance(under, dict):
            result[key] = _merged(under, value, options=key == "options")
        elif value is None and options:
            result.pop(key, None)
        elif isinstance(value, dict) and key == "options":
            result[key] = {k: v for k, v in value.items() if v is not None}
        else:
            result[key] = value
    return result
