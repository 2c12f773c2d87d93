"""Checks and descriptions on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from featalign.cli.console import out, percent, table
from featalign.data import CheckReport
from featalign.errors import ConfigError
from featalign.losses import balanced_weights
from featalign.models import Segmentor, create_model, list_models, load_model
from featalign.models.complexity import complexity


def show_check(report: CheckReport) -> None:
    """Layout and labels; of every class that occurs its frequency in each split, and what ``loss.class_weights:
    balanced`` makes of those to learn from; then the findings, then the verdict.
    """
    chosen = ", ".join(f"{name}={value}" for name, value in report.settings.items())
    out.print(f"layout: {report.layout}" + (f" ({chosen})" if chosen else ""), markup=False, highlight=False)
    out.print(f"labels: {report.labels}", markup=False, highlight=False)
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
        out.print(f"{finding.severity}: {finding}", markup=False)
    out.print("ready to train on" if report.ok else f"{len(report.errors)} errors: train would refuse this data")


def describe(
    model: str, *, chosen: dict[str, Any], settings: Sequence[str], classes: int, size: tuple[int, int]
) -> dict[str, Any]:
    """What `info` tells of a stored model, or of a network that is built for it."""
    network = _network(model, chosen | dict(map(_setting, settings)), classes)
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
    height, width = description["size"]
    options = ", ".join(f"{key}={value}" for key, value in description["model"].items() if key != "name")
    out.print(f"{description['model']['name']}: {options}", markup=False)
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


def _network(model: str, options: dict[str, Any], classes: int) -> Segmentor:
    if model in list_models():
        return create_model(model, classes=classes, **options)
    if not (Path(model).exists() or model.startswith("hub:")):
        raise ConfigError(f'"{model}" is neither a network ({", ".join(list_models())}) nor a folder')
    if options:
        raise ConfigError(f"{model} is a stored model: its options ({', '.join(options)}) cannot be changed")
    return load_model(model)


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f'expected KEY=VALUE after --set, got "{text}"')
    return key.strip(), yaml.safe_load(value)
