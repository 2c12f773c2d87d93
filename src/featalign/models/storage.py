"""A model as a folder: ``config.json`` (how to build it, what it reads and answers) and ``model.safetensors``.

The folder needs nothing else: no recipe, no network, no training code. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from featalign.errors import WeightsError
from featalign.files import atomic_path, read_json, write_atomically
from featalign.models.network import SegmentationNetwork
from featalign.version import __version__

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save_model(model: SegmentationNetwork, folder: Path | str) -> None:
    """Write ``model`` into ``folder``; each file is complete or absent at any time.

    Raises:
        WeightsError: for a model that no configuration builds again: one with a part of the user's own, or one not
            built by :func:`~featalign.models.create_model`.
        FeatalignError: if a file cannot be written.
    """
    if not model.config:
        raise WeightsError(
            "this model cannot be stored as a folder: it was not built by create_model from names alone, so nothing "
            "written there could build it again; store its state_dict() and keep the code that builds it"
        )
    config = {
        "model": {**model.config, "pretrained": False},
        **model.classes.to_json(),
        "normalization": asdict(model.normalization),
        "folded": model.folded,
    }
    write_folder(Path(folder), model, config)


def write_folder(folder: Path, model: nn.Module, config: Mapping[str, Any]) -> None:
    """The two files of a model: its weights, and ``config`` with the version of this library."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        temporary.write_bytes(safetensors.torch.save(state, metadata={"format": "pt"}))
    write_atomically(folder / CONFIG, json.dumps({"featalign": __version__, **config}, indent=1) + "\n")


def model_folder(path: Path) -> Path:
    """Where the model of ``path`` lies: ``path`` itself, or its folder ``model``. Raises WeightsError."""
    for folder in (path, path / "model"):
        if (folder / CONFIG).is_file():
            return folder
    if not path.exists():
        raise WeightsError(
            f"{path}: no such folder; expected a model folder, a training run, or a model on the hub as hub:owner/name"
        )
    if path.is_file():
        raise WeightsError(
            f"{path}: is a file; expected a training run or a model folder, such as the run that it was exported from "
            "(load_published reads checkpoints of the published code)"
        )
    if (path / "recipe.yaml").is_file() and not (path / "metrics.json").exists():
        raise WeightsError(
            f"{path}: is a training run that has not stored a model yet; it does so at its first validation and at its "
            "end: wait for it, or start the same `featalign train` again if it was stopped"
        )
    raise WeightsError(
        f"{path}: holds no model; expected {CONFIG} and {WEIGHTS} in it or in its folder model/ "
        "(load_published reads checkpoints of the published code)"
    )


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        WeightsError: if the file is missing, truncated or a pickle, which is refused: reading one can run its code.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if _is_pickle(start):
            raise WeightsError(
                f"{path}: is a pickle, which can run code when read; where you trust its origin, convert it: "
                'safetensors.torch.save_file(torch.load(path, weights_only=True), "model.safetensors")'
            )
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: is not a complete safetensors file ({error}); copy or download it again"
        ) from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error


def _is_pickle(start: bytes) -> bool:
    """Whether a file begins as torch.save's zip archive or a pickle does; safetensors has a length, then JSON."""
    return start[8:9] != b"{" and start.startswith((b"PK\x03\x04", b"\x80"))


def fit_state(model: nn.Module, state: dict[str, Tensor], *, source: str) -> None:
    """Load ``state`` into ``model``; every key must fit. Raises WeightsError with the first that do not."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    faults = [f"{name} is missing" for name in expected.keys() - given.keys()]
    faults += [f"{name} is unknown" for name in given.keys() - expected.keys()]
    faults += [
        f"{name} is {given[name]}, expected {expected[name]}"
        for name in expected.keys() & given.keys()
        if expected[name] != given[name]
    ]
    if faults:
        shown = "; ".join(sorted(faults)[:3])
        raise WeightsError(f"{source}: weights of another model, {len(faults)} tensors do not fit: {shown}")
    model.load_state_dict(state)


def filled(module: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """``module`` with published weights under its own names, in evaluation mode: nothing missing, nothing left over.

    Raises:
        WeightsError: with the first names, or shapes, that do not fit.
    """
    fit_state(module, state, source="published weights")
    return module.eval()


def read_config(path: Path) -> dict[str, Any]:
    """What a model's ``config.json`` holds. Raises WeightsError if it is no such file."""
    return read_json(path, error=WeightsError, expected="the description of a model (an object)")
