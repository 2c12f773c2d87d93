"""Checks and descriptions on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from featalign.cli.console import out, percent, table, verdict
from featalign.cli.objects import finds_objects
from featalign.cli.options import parse_settings
from featalign.data import CheckReport
from featalign.errors import ConfigError, did_you_mean
from featalign.losses import balanced_weights
from featalign.models import (
    Segmentor,
    create_detector,
    create_model,
    detector_options,
    list_detectors,
    list_models,
    load_detector,
    load_model,
)
from featalign.models.complexity import complexity
from featalign.training.recipe_types import PANOPTIC


def show_check(report: CheckReport) -> None:
    """Layout and labels; of every class that occurs its frequency in each split, and what ``loss.class_weights:
    balanced`` makes of those to learn from; then the findings, then the verdict.
    """
    chosen = ", ".join(f"{name}={value}" for name, value in report.settings.items())
    out.print(f"layout: {report.layout}" + (f" ({chosen})" if chosen else ""))
    out.print(f"labels: {report.labels}")
    if report.splits:
        names = report.classes.names
        learnt = next((split for split in report.splits if split.name == "train"), report.splits[0])
        weights = balanced_weights(torch.tensor(learnt.pixels)).tolist()
        shares = [split.class_fraction for split in report.splits]
        occurring = [i for i in range(len(names)) if any(i not in split.absent for split in report.splits)]
        rows = [(names[i], *(percent(share[i]) for share in shares), f"{weights[i]:.3g}") for i in occurring]
        rows.append(("(ignored)", *(percent(split.void_fraction) for split in report.splits), ""))
        rows.append(("images", *(str(split.pairs) for split in report.splits), ""))
        table(rows, header=("% of pixels", *(split.name for split in report.splits), "balanced weight"))
    for finding in (*report.errors, *report.notes):
        out.print(f"{finding.severity}: {finding}")
    out.print(verdict(len(report.errors)))


def describe(
    model: str, *, chosen: dict[str, Any], settings: Sequence[str], classes: int, size: tuple[int, int]
) -> dict[str, Any]:
    """What `info` tells of a stored model, or of a network that is built for it."""
    options = chosen | parse_settings(settings)
    if model in list_detectors() or finds_objects(Path(model)):
        return _describe_detector(model, options, classes)
    network = _network(model, options, classes)
    count = complexity(network, size)
    return {
        "model": network.config,
        "classes": len(network.classes),
        "strides": list(network.strides),
        "parameters": count.parameters,
        "training_parameters": count.training_parameters,
        "size": list(size),
        "multiply_adds": count.multiply_adds,
        "papers_flops": count.papers_flops,
    }


def show_description(description: dict[str, Any]) -> None:
    """One fact a line."""
    if "size" not in description:
        return _show_detector(description)
    height, width = description["size"]
    options = ", ".join(f"{key}={value}" for key, value in description["model"].items() if key != "name")
    out.print(f"{description['model']['name']}: {options}")
    table(
        [
            ("classes", str(description["classes"])),
            ("strides", ", ".join(map(str, description["strides"]))),
            ("parameters", f"{description['parameters'] / 1e6:.2f} M"),
            ("  with the auxiliary head of training", f"{description['training_parameters'] / 1e6:.2f} M"),
            (f"multiply-adds at {height}x{width}", f"{description['multiply_adds'] / 1e9:.2f} G"),
            ("  as the papers count (training network)", f"{description['papers_flops'] / 1e9:.2f} G"),
        ]
    )


def _describe_detector(model: str, options: dict[str, Any], classes: int) -> dict[str, Any]:
    """How much work a detector has depends on what it sees: nothing is said of it."""
    if model not in list_detectors():
        if options:
            raise ConfigError(f"{model} is a stored model: its options ({', '.join(options)}) cannot be changed")
        network = load_detector(model)
    else:
        chosen = {"fuse" if name == "align" else name: value for name, value in options.items()}
        unknown = [name for name in chosen if name not in detector_options()]
        if unknown:
            hint = did_you_mean(unknown[0], detector_options())
            raise ConfigError(f'detector "{model}" has no option "{unknown[0]}": {hint}')
        if model in PANOPTIC:
            chosen.setdefault("things", [0])
        network = create_detector(model, classes=classes, **chosen)  # type: ignore[arg-type]
    backbone = sum(parameter.numel() for parameter in network.backbone.parameters())
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {
        "model": network.config,
        "classes": len(network.classes),
        "things": len(network.things),
        "parameters": parameters,
        "backbone_parameters": backbone,
    }


def _show_detector(description: dict[str, Any]) -> None:
    options = ", ".join(f"{key}={value}" for key, value in description["model"].items() if key != "name")
    out.print(f"{description['model']['name']}: {options}")
    rows = [("classes", str(description["classes"]))]
    if description["things"] < description["classes"]:
        rows.append(("  of them things", str(description["things"])))
    rows.append(("parameters", f"{description['parameters'] / 1e6:.2f} M"))
    rows.append(("  of them in the backbone", f"{description['backbone_parameters'] / 1e6:.2f} M"))
    table(rows)


def _network(model: str, options: dict[str, Any], classes: int) -> Segmentor:
    if model in list_models():
        return create_model(model, classes=classes, **options)
    if not (Path(model).exists() or model.startswith("hub:")):
        raise ConfigError(
            f'"{model}" is neither a network ({", ".join([*list_models(), *list_detectors()])}) nor a folder'
        )
    if options:
        raise ConfigError(f"{model} is a stored model: its options ({', '.join(options)}) cannot be changed")
    return load_model(model)
