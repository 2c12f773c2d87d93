"""The `explain` command's work: pictures of one image's alignment, and what there is to say about them."""

from __future__ import annotations

from pathlib import Path

from featalign.cli.console import out
from featalign.inference import Predictor
from featalign.inference.explanation import explain, write_explanation
from featalign.inference.network import Size


def explain_image(predictor: Predictor, image: Path, folder: Path, *, input_size: Size | None) -> None:
    """Write the pictures into ``folder`` and list them. Raises DataError or FeatalignError."""
    explanation = explain(predictor, image, input_size=input_size)
    for path in write_explanation(explanation, folder):
        out.print(str(path), markup=False)
    if not explanation.has_fields:
        out.print("this model predicts no offset field: its levels are aligned without one; see its feature maps")
