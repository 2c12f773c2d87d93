"""Errors that speak to the user: what was got, what was expected, what to do.

The command line prints these as one line and exits with code 2; every other exception is a defect of ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The hint that ends an error about an unknown ``name``: its nearest spelling, else everything there is.

    >>> did_you_mean("bilinaer", ["bilinear", "nearest"])
    'did you mean "bilinear"?'
    """
    options = sorted(known)
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else f"expected one of: {', '.join(options)}"
