"""A model as a folder: ``config.json`` (how to build it, what it reads and answers) and ``model.safetensors``.

The folder needs nothing else: no recipe, no network, no training code. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

import featalign
from featalign.errors import DataError, WeightsError
from featalign.files import atomic_path, write_atomically
from featalign.models.factory import create_model
from featalign.models.segmentor import Segmentor
from featalign.spec import Classes, Normalization

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save_model(model: Segmentor, folder: Path | str) -> None:
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
    folder = Path(folder)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        temporary.write_bytes(safetensors.torch.save(state, metadata={"format": "pt"}))
    config = {
        "featalign": featalign.__version__,
        "model": {**model.config, "pretrained": False},
        **model.classes.to_json(),
        "normalization": asdict(model.normalization),
    }
    write_atomically(folder / CONFIG, json.dumps(config, indent=1) + "\n")


def load_model(folder: Path | str) -> Segmentor:
    """The model in ``folder``, or in the ``model`` folder of a training run, in evaluation mode.

    Raises:
        WeightsError: if a file is missing, corrupt, a pickle, or of another network; the message says which.
    """
    folder = model_folder(Path(folder))
    config = _read_config(folder / CONFIG)
    try:
        model = create_model(**config["model"], classes=Classes.from_json(config))
        model.normalization = Normalization(**{key: tuple(value) for key, value in config["normalization"].items()})
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise WeightsError(f"{folder / CONFIG}: does not describe a model ({error})") from error
    fit_state(model, read_safetensors(folder / WEIGHTS), source=str(folder / WEIGHTS))
    return model.eval()


def model_folder(path: Path) -> Path:
    """Where the model of ``path`` lies: ``path`` itself, or its folder ``model``. Raises WeightsError."""
    for folder in (path, path / "model"):
        if (folder / CONFIG).is_file():
            return folder
    if not path.exists():
        raise WeightsError(f"{path}: no such folder; expected a model folder or a training run")
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


def fit_state(model: Segmentor, state: dict[str, Tensor], *, source: str) -> None:
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


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise WeightsError(f"{path}: is not JSON ({error})") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path}: does not describe a model (expected an object)")
    return config
