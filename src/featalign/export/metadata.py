"""What travels inside an exported file: everything that a reader needs besides the graph."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from featalign.errors import DataError, WeightsError
from featalign.models.network import Mode
from featalign.spec import Classes, Normalization

KEY = "featalign"
Size = tuple[int, int]
Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class ExportInfo:
    """The facts about an exported network.

    ``size``: (height, width) that every image must have, None where any will do. ``mode``: how the graph brings its
    answer to the size asked for, see :meth:`featalign.models.Segmentor.decode`. ``normalization`` is what the graph
    does to the pixels itself; it is told for the record. ``model``: keyword arguments of ``create_model``, empty for a
    network that no configuration builds.
    """

    classes: Classes
    in_channels: int
    normalization: Normalization
    mode: Mode
    precision: Precision
    size: Size | None
    model: dict[str, Any]
    version: str

    @property
    def pixels(self) -> str:
        """The type of the graph's pixels: ``uint8``; ``int32`` for images of 16 bits."""
        return "uint8" if self.normalization.depth == 8 else "int32"

    def to_text(self) -> str:
        """As JSON in one string."""
        content = {
            "version": self.version,
            "model": self.model,
            **self.classes.to_json(),
            "in_channels": self.in_channels,
            "normalization": asdict(self.normalization),
            "pixels": self.pixels,
            "mode": self.mode,
            "precision": self.precision,
            "size": self.size,
        }
        return json.dumps(content)

    @classmethod
    def from_text(cls, text: str | None, *, source: str) -> ExportInfo:
        """What :meth:`to_text` gave. Raises WeightsError naming ``source`` for anything else."""
        if not text:
            raise WeightsError(f"{source}: was not written by `featalign export`: its metadata has nothing of it")
        try:
            content = json.loads(text)
            return cls(
                classes=Classes.from_json(content),
                in_channels=content["in_channels"],
                normalization=Normalization.from_json(content["normalization"]),
                mode=content["mode"],
                precision=content["precision"],
                size=tuple(content["size"]) if content["size"] else None,
                model=content["model"],
                version=content["version"],
            )
        except (KeyError, TypeError, ValueError, DataError) as error:
            raise WeightsError(f"{source}: its metadata cannot be read ({error}); export the network again") from error
