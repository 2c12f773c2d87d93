"""Errors that speak to the user: what was got, what was expected, what to do.

The command line prints these as one line and exits with code 2; every other exception is a defect of ours.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Sequence

_LISTED = 20  # names in a message
_SHORT = 3
_KIND = {0: "non-negative", 1: "positive"}


class FeatalignError(Exception):
    """Base of every error whose message is meant for the user."""


class ConfigError(FeatalignError, ValueError):
    """A name, an option or a recipe field that cannot be used as given."""


class DataError(FeatalignError):
    """A file or folder that cannot be used as data; the message names it."""


class WeightsError(FeatalignError):
    """A model file that is corrupt, unsafe to read, or of another model."""


class ExportError(FeatalignError):
    """A network that cannot become the file asked for, or a file whose answers are not the network's."""


def said(error: Exception, *, length: int = 300) -> str:
    """What an error of another library says, as a part of a message of ours.

    That is its first line that is not blank, nor ends in a colon: such lines announce the next.
    """
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line and not line.endswith(":")), type(error).__name__)[:length]


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The hint that ends an error about an unknown ``name``: its nearest spelling, else what there is, at most twenty.

    >>> did_you_mean("bilinaer", ["bilinear", "nearest"])
    'did you mean "bilinear"?'
    """
    options = sorted(known)
    spelt = str(name)
    alike = 0.6 if len(spelt) <= _SHORT else 0.7  # one letter of three may be wrong
    near = difflib.get_close_matches(spelt, options, n=1, cutoff=alike)
    if near:
        return f'did you mean "{near[0]}"?'
    more = f", … and {len(options) - _LISTED} more" if len(options) > _LISTED else ""
    return f"expected one of: {', '.join(options[:_LISTED])}{more}"


def check_count(*, least: int = 1, **options: int) -> None:
    """Raises ConfigError, naming the option, unless each is a whole number of at least ``least``, 1 or 0."""
    for option, value in options.items():
        if not _counts(value, least):
            raise ConfigError(f"{option} must be a {_KIND[least]} whole number, got {value!r}")


def check_flags(**options: bool) -> None:
    """Raises ConfigError, naming the option, unless each is true or false; text such as "no" would count as true."""
    for option, value in options.items():
        if not isinstance(value, bool):
            raise ConfigError(f"{option} must be true or false, got {value!r}")


def check_counts(**options: Sequence[int]) -> None:
    """Raises ConfigError, naming the option, unless each is one positive whole number or several."""
    for option, values in options.items():
        row = isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0
        if not (row and all(_counts(value, 1) for value in values)):
            raise ConfigError(f"{option} must be positive whole numbers, at least one, got {values!r}")


def _counts(value: object, least: int) -> bool:
    try:
        return operator.index(value) >= least  # type: ignore[arg-type]  # that is the question
    except TypeError:
        return False
