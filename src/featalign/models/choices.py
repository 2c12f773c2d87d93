"""Options that take one of several names, or yes or no, as the types of a builder's arguments say it."""

from __future__ import annotations

import collections.abc
from collections.abc import Callable, Mapping
from functools import wraps
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from featalign.errors import ConfigError, check_flags, did_you_mean

P = ParamSpec("P")
Built = TypeVar("Built")


def choices_of(builder: Callable[..., Any]) -> dict[str, tuple[str, ...]]:
    """The options that take names, with these names."""
    choices = {option: _names(hint) for option, hint in get_type_hints(builder).items()}
    return {option: names for option, names in choices.items() if names}


def check_choices(builder: Callable[..., Any], options: Mapping[str, Any], *, network: str) -> None:
    """Refuse what an option that takes names, or yes or no, does not take, also where others leave it without effect.

    Raises:
        ConfigError: with the nearest spelling, or all names.
    """
    hints = get_type_hints(builder)
    check_flags(**{option: value for option, value in options.items() if hints.get(option) is bool})
    for option, names in choices_of(builder).items():
        if option not in options or _admits(hints[option], options[option]):
            continue
        value = options[option]
        if isinstance(value, str):
            raise ConfigError(f'unknown {option} "{value}" for {network}: {did_you_mean(value, names)}')
        own = ", or a factory of your own" if _admits(hints[option], callable) else ""
        raise ConfigError(f"{option} of {network} must be one of {', '.join(names)}{own}; got {value!r}")


def named_choices(builder: Callable[P, Built]) -> Callable[P, Built]:
    """A builder that looks at its options by :func:`check_choices` before it builds."""

    @wraps(builder)
    def build(*args: P.args, **options: P.kwargs) -> Built:
        check_choices(builder, options, network=builder.__name__)
        return builder(*args, **options)

    return build


def _names(hint: Any) -> tuple[str, ...]:
    """The strings that a type admits by name."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else ()
    return tuple(name for part in parts for name in _names(part))


def _admits(hint: Any, value: Any) -> bool:
    """Whether a value is one that a type names; of other types only that there are such is known."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_admits(part, value) for part in get_args(hint))
    if hint is NoneType:
        return value is None
    if get_origin(hint) is collections.abc.Callable:
        return callable(value)
    return not isinstance(hint, type) or isinstance(value, hint)
