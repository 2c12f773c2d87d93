"""What a model reads and what its answers mean: the few facts that travel with weights, data and pictures alike."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from featalign.errors import DataError

IGNORE_INDEX = 255
Color = tuple[int, int, int]
Depth = Literal[8, 16]
"""Bits per channel of images."""


@dataclass(frozen=True)
class Normalization:
    """``(pixel / scale - mean) / std`` per channel; one entry serves every channel. Defaults are ImageNet's.

    ``scale``: the largest value of a pixel, 255 for images of 8 bits, 65535 for those of 16.
    """

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    scale: float = 255.0

    @property
    def depth(self) -> Depth:
        """Bits per channel of the images."""
        return 8 if self.scale <= 255 else 16

    @classmethod
    def for_channels(cls, channels: int, *, depth: int = 8) -> Normalization:
        """ImageNet's statistics for three channels, 0.5 / 0.25 for any other number; ``depth`` in bits."""
        scale = float(2**depth - 1)
        return cls(scale=scale) if channels == 3 else cls((0.5,), (0.25,), scale)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Normalization:
        """From the fields as plain values; ``scale`` may be missing, as files written before it existed lack it."""
        return cls(tuple(content["mean"]), tuple(content["std"]), float(content.get("scale", 255.0)))


@dataclass(frozen=True)
class Classes:
    """Names and colours of the classes, index = position; ``ignore_index`` marks pixels that count nowhere."""

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    ignore_index: int = IGNORE_INDEX

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def named(cls, names: Sequence[str]) -> Classes:
        """Classes with evenly spread colours."""
        return cls(tuple(names), tuple(_spread_color(i) for i in range(len(names))))

    @classmethod
    def numbered(cls, count: int) -> Classes:
        """``class 0`` … ``class count-1``, for when nothing better is known."""
        return cls.named([f"class {i}" for i in range(count)])

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Classes:
        """From ``{"classes": [{"id", "name", "color"}, …], "ignore_index"}``: ids 0 … n-1, colours optional.

        Raises:
            DataError: if the content does not have this form.
        """
        try:
            rows = sorted(content["classes"], key=lambda row: row["id"])
            names = [str(row["name"]) for row in rows]
            colors = tuple(_color(row.get("color", _spread_color(i))) for i, row in enumerate(rows))
            ids = [row["id"] for row in rows]
            ignore_index = int(content.get("ignore_index", IGNORE_INDEX))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f'expected {{"classes": [{{"id": 0, "name": "sky", "color": [r, g, b]}}, …]}}; {_fault(error)}'
            ) from error
        if ids != list(range(len(ids))) or not ids:
            raise DataError(
                f"class ids must be 0 … n-1 without gaps, got {ids}; remap the masks or list the missing ids"
            )
        return cls(tuple(names), colors, ignore_index)

    @classmethod
    def read(cls, path: Path) -> Classes:
        """From a ``classes.json`` file. Raises DataError naming the file."""
        try:
            return cls.parse(path.read_bytes(), source=str(path))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error

    @classmethod
    def parse(cls, content: bytes, *, source: str) -> Classes:
        """From what a ``classes.json`` file holds. Raises DataError naming ``source``, where it comes from."""
        try:
            return cls.from_json(json.loads(content))
        except ValueError as error:
            raise DataError(f"{source}: is not JSON ({error})") from error
        except DataError as error:
            raise DataError(f"{source}: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """The form that :meth:`from_json` reads."""
        rows = [
            {"id": i, "name": n, "color": list(c)} for i, (n, c) in enumerate(zip(self.names, self.colors, strict=True))
        ]
        return {"classes": rows, "ignore_index": self.ignore_index}


def _fault(error: Exception) -> str:
    """What is wrong with a file of classes, in its own words."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error) if isinstance(error, ValueError) else "something in it is of another kind"


def _color(value: Sequence[int]) -> Color:
    red, green, blue = (int(v) for v in value)
    if not all(0 <= v <= 255 for v in (red, green, blue)):
        raise ValueError(f"colour {list(value)} outside 0 … 255")
    return red, green, blue


def _spread_color(index: int) -> Color:
    """Hues a golden ratio apart, so that any number of neighbours differ."""
    red, green, blue = colorsys.hsv_to_rgb(
        (index * 0.618034) % 1.0, 0.65 if index % 2 else 0.85, 0.95 if index % 3 else 0.7
    )
    return round(red * 255), round(green * 255), round(blue * 255)
