"""The `explain` command's pictures of one image's alignment, and what there is to say about them."""

from __future__ import annotations

from pathlib import Path

from featalign.cli.console import out
from featalign.inference.explanation import Explanation, write_explanation


def write_pictures(explanation: Explanation, folder: Path, *, without_fields: str) -> None:
    """Write the pictures into ``folder`` and list them; ``without_fields`` is said where no offset is predicted.

    Raises:
        FeatalignError: if one cannot be written.
    """
    for path in write_explanation(explanation, folder):
        out.print(str(path))
    if not explanation.has_fields:
        out.print(without_fields)
