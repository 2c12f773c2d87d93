"""What a check says about one file or one split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from featalign.data.files import File


@dataclass(frozen=True)
class Finding:
    """An ``error`` forbids training; a ``note`` is worth knowing. ``file`` is None if it concerns the whole split."""

    severity: Literal["error", "note"]
    split: str
    file: File | None
    message: str

    def __str__(self) -> str:
        return f"{self.file or self.split}: {self.message}"

    def to_json(self) -> dict[str, Any]:
        """Plain values; the file as text."""
        file = None if self.file is None else str(self.file)
        return {"severity": self.severity, "split": self.split, "file": file, "message": self.message}


def summary(findings: list[Finding], *, shown: int = 3) -> str:
    """The first few of them in one line, and how many more there are."""
    first = "; ".join(str(finding) for finding in findings[:shown])
    rest = len(findings) - shown
    return f"{first}; and {rest} more" if rest > 0 else first
