"""From options to a predictor."""

from __future__ import annotations

from pathlib import Path

from featalign.data import DEFAULT_MAX_PIXELS
from featalign.inference import Predictor
from featalign.inference.predictor import Precision
from featalign.models import load_model
from featalign.models.segmentor import Mode


def predictor(run: Path, *, device: str, precision: Precision, mode: Mode, max_pixels: int | None) -> Predictor:
    """The predictor that a command's options describe. Raises ConfigError or WeightsError."""
    return Predictor(
        load_model(run), device=device, precision=precision, mode=mode, max_pixels=max_pixels or DEFAULT_MAX_PIXELS
    )
