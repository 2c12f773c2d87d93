"""What is recorded of one image's alignment, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32]


@dataclass
class Step:
    """One module's alignment of one image."""

    module: str
    """Its name in the model."""
    kind: str
    """Its class."""
    entering: tuple[tuple[int, int], ...] = ()
    """Sizes (h, w) of the maps that go in, the coarser of two first."""
    maps: dict[str, Array] = field(default_factory=dict)
    """Feature maps by their mean over the channels, (h, w), from what goes in to what comes out."""
    fields: dict[str, Array] = field(default_factory=dict)
    """Which map is moved -> offsets (2, h, w), (x, y) from a cell to where it reads, in cells of its own grid."""

    @property
    def out(self) -> Array:
        """The last map."""
        return list(self.maps.values())[-1]

    @property
    def rows(self) -> list[tuple[dict[str, Array], dict[str, Array]]]:
        """Maps and fields in rows: the coarse map's, the levels', …, the fine one's if it is moved, then all else."""
        own = {"coarse", "level", "content"} | ({"fine"} if "fine map" in self.fields else set())
        rows: dict[str, tuple[dict[str, Array], dict[str, Array]]] = {}
        for i, named in enumerate((self.maps, self.fields)):
            for name, values in named.items():
                kind = name.replace(",", "").split()[0]
                rows.setdefault(kind if kind in own else "", ({}, {}))[i][name] = values
        return [rows[kind] for kind in sorted(rows, key=lambda kind: kind == "")]


@dataclass
class Recording:
    """Everything collected, in the order of computation."""

    backbone: list[Array] = field(default_factory=list)
    """The backbone's maps, finest first, by their mean over the channels."""
    steps: list[Step] = field(default_factory=list)


def channel_mean(x: Tensor) -> Array:
    """(B, C, h, w) to the mean over the channels of the first image, (h, w)."""
    return as_array(x.float().mean(1))


def as_array(x: Tensor) -> Array:
    """The first of a batch (B, …)."""
    return x[0].detach().float().cpu().numpy()
