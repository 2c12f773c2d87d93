"""What an answer depends on, in plain values: by it, folders and files know what they were made by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featalign.inference.network import Network, Size
from featalign.inference.predictor import Predictor
from featalign.inference.regions import Area
from featalign.models import Detector


def settings_of(
    predictor: Predictor, *, size: Size | None, input_size: Size | None, area: Area | None, margin: int
) -> dict[str, Any]:
    """Everything that the labels depend on, as JSON: the model, how it is asked, how large the answer is."""
    return {
        "model": digest_of(predictor.model),
        "mode": predictor.mode,
        "effort": predictor.effort,
        "precision": predictor.precision,
        **asdict(predictor.views),
        "size": size,
        "input_size": input_size,
        "box": str(area) if area else None,
        "margin": margin,
    }


def differing(record: Path, settings: Mapping[str, Any]) -> list[str]:
    """Names of the settings that a JSON file has otherwise. Raises OSError, or ValueError if it has none."""
    there, ours = json.loads(record.read_text(encoding="utf-8")), json.loads(json.dumps(settings))
    if not isinstance(there, dict):
        raise ValueError("no settings")
    return sorted(key for key in {*ours, *there} if ours.get(key) != there.get(key))


def digest_of(network: Network | Detector) -> str:
    """Of the weights, and of what is done with them; of a network that is no module, what it says of itself."""
    if not isinstance(network, nn.Module):
        return str(getattr(network, "digest", type(network).__name__))
    config = {**getattr(network, "config", {}), "pretrained": False}  # what it began with, it no longer depends on
    made = json.dumps([config, asdict(network.normalization)], sort_keys=True, default=str)
    digest = hashlib.sha256(made.encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
