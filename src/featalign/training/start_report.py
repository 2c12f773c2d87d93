"""What became of every tensor when a run began with the weights of another model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from rich.table import Table

from featalign.spec import Normalization

Outcome = Literal["loaded", "adapted", "skipped", "missing", "unused"]
MOST_ROWS = 30


@dataclass(frozen=True)
class TensorReport:
    """One tensor: ``missing`` ones are only in the network, ``unused`` ones only in the source."""

    name: str
    outcome: Outcome
    why: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class StartReport:
    """Where the weights came from, every tensor of either side, and how images are normalized from now on.

    ``normalizes``: whether the source says so, of images of this many channels and bits.
    """

    source: str
    kind: str
    tensors: tuple[TensorReport, ...]
    normalization: Normalization
    normalizes: bool = False

    def count(self, outcome: Outcome) -> int:
        """Tensors with that outcome."""
        return sum(tensor.outcome == outcome for tensor in self.tensors)

    def summary(self) -> str:
        """One line."""
        counts = {outcome: self.count(outcome) for outcome in ("loaded", "adapted", "skipped", "missing", "unused")}
        listed = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        return f"started from {self.source} ({self.kind}): {listed} tensors"

    def to_json(self) -> dict[str, object]:
        """Everything, for the run folder."""
        return asdict(self)

    def table(self) -> Table:
        """One row for each part of the network and outcome; adapted and skipped tensors one by one."""
        table = Table("part", "tensors", "outcome", "why")
        rows = list(self._rows())
        for part, count, outcome, why in rows[:MOST_ROWS]:
            table.add_row(part, str(count), outcome, why)
        if len(rows) > MOST_ROWS:
            table.add_row(f"{len(rows) - MOST_ROWS} more rows", "", "", "all of them are in start_from.json")
        return table

    def _rows(self) -> Iterator[tuple[str, int, str, str]]:
        grouped: dict[tuple[str, str, str], int] = defaultdict(int)
        for tensor in self.tensors:
            single = tensor.outcome in ("adapted", "skipped")
            grouped[(tensor.name if single else _part(tensor.name), tensor.outcome, tensor.why)] += 1
        for (part, outcome, why), count in grouped.items():
            yield part, count, outcome, why


def _part(name: str) -> str:
    """decoder.mlp.0.weight is of decoder.mlp; a parameter by itself is its own part."""
    return ".".join(name.split(".")[:-1][:2]) or name
