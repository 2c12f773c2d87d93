"""How scores were taken, in plain values: what files of scores keep of it, and what is read from there again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from featalign.export.exported import load_network
from featalign.inference import Predictor

SETTINGS = (
    "split",
    "layout",
    "layout_options",
    "mode",
    "effort",
    "precision",
    "scales",
    "flip",
    "window",
    "overlap",
    "published",
    "input_size",
)
"""What must be the same for scores to be parts of one evaluation, and is worth knowing where two are compared."""
Settings = dict[str, Any]


def settings_of(predictor: Predictor, **data: Any) -> Settings:
    """All of :data:`SETTINGS`; ``data``: split, layout, layout_options and input_size, as text."""
    views = json.loads(json.dumps(asdict(predictor.views)))  # tuples to lists, as a file has them
    return settings_in(
        {**data, "mode": predictor.mode, "effort": predictor.effort, "precision": predictor.precision, **views}
    )


def settings_in(content: Mapping[str, Any]) -> Settings:
    """Those that a file of scores has, in one order."""
    return {name: content[name] for name in SETTINGS if name in content}


def differing(a: Settings, b: Settings) -> list[str]:
    """Names of the settings in which two evaluations differ."""
    return [name for name in SETTINGS if a.get(name) != b.get(name)]


def predictor_of(run: Path, settings: Settings, **computing: Any) -> Predictor:
    """The run, to predict as these settings say; ``computing``: device and limits, which change no answer.

    Raises ConfigError or WeightsError.
    """
    return Predictor(
        load_network(run),  # a path, never a look-up on the hub
        mode=settings["mode"],
        effort=settings["effort"] if settings["mode"] == "adaptive" else None,
        precision=settings["precision"],
        scales=settings["scales"],
        flip=settings["flip"],
        window=settings["window"] and tuple(settings["window"]),
        overlap=settings["overlap"],
        published=settings["published"],
        **computing,
    )
