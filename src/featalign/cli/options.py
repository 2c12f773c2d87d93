"""Options that several commands share, and what their text means."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from featalign.errors import ConfigError

Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result as JSON.")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override one field; repeatable.")]
LayoutOptions = Annotated[
    list[str], typer.Option("--layout-option", metavar="KEY=VALUE", help="An option of the layout; repeatable.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
Precision = Annotated[Literal["fp32", "bf16", "fp16"], typer.Option(help="fp32; bf16 or fp16 run under autocast.")]
Mode = Annotated[
    Literal["auto", "dense", "resized", "adaptive"],
    typer.Option(
        help="dense: ask at every output pixel; resized: resize the finest answer; adaptive: in between; auto."
    ),
]
ModeOrNone = Annotated[
    Literal["auto", "dense", "resized", "adaptive"] | None,
    typer.Option(help="As for predict; auto if nothing says so."),
]
InputSize = Annotated[
    str | None, typer.Option(metavar="HxW", help="Resize images to this before the network sees them.")
]
MaxPixels = Annotated[int | None, typer.Option(min=1, help="Refuse larger images before decoding them.")]
Scales = Annotated[str, typer.Option(metavar="S,S,…", help="Sizes at which the image is seen; their answers averaged.")]
ScalesOrNone = Annotated[str | None, typer.Option(metavar="S,S,…", help="Sizes at which the image is seen.")]
Flip = Annotated[bool, typer.Option("--flip", help="Also see the mirror image.")]
Window = Annotated[str | None, typer.Option(metavar="HxW", help="See large images through windows of this size.")]
Effort = Annotated[
    float | None,
    typer.Option(metavar="0…1", help="Of mode adaptive: the largest share of the pixels that is queried; default 0.1."),
]
Overlap = Annotated[float, typer.Option(help="Part of a window that the next one repeats.", show_default="a third")]
OverlapOrNone = Annotated[float | None, typer.Option(help="Part of a window that the next one repeats.")]
Published = Annotated[
    Literal["ifa", "alignseg"] | None,
    typer.Option(help="Resize, pad and average as this paper's evaluation code does; see docs/protocols.md."),
]
MaxMemory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="What one image may take besides the weights, like 2GiB.")
]
ShardOf = Annotated[str | None, typer.Option("--shard", metavar="i/n", help="Only part i, from 1, of n.")]

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_bytes(text: str | None) -> int | None:
    """``2GiB``, ``500M`` or a number of bytes; units are powers of 1024. None stays None. Raises ConfigError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    count = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if count == 0:
        raise ConfigError(f'expected an amount of memory like 2GiB or 500MiB, got "{text}"')
    return count


def parse_scales(text: str) -> tuple[float, ...]:
    """``0.5,1,2``. Raises ConfigError."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f'expected scales like 0.5,0.75,1, got "{text}"') from error


def parse_settings(texts: Sequence[str]) -> dict[str, object]:
    """``KEY=VALUE`` texts, values read as in recipes; no YAML, and names in braces like ``{split}``, as they stand.

    Raises:
        ConfigError: for a text of another form.
    """
    settings: dict[str, object] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise ConfigError(f'expected KEY=VALUE, got "{text}"')
        settings[key.strip()] = _read(value)
    return settings


def format_setting(key: str, value: object) -> str:
    """``KEY=VALUE`` that :func:`parse_settings` reads as ``value`` again, which JSON can hold."""
    return f"{key}={value}" if _read(str(value)) == value else f"{key}={json.dumps(value)}"


def _read(text: str) -> object:
    from featalign.training.recipe_text import parse_yaml

    try:
        value = parse_yaml(text, source=text)
    except ConfigError:
        return text
    placeholders = isinstance(value, dict) and value and all(one is None for one in value.values())
    return text if placeholders else value
