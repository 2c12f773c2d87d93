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

import featalign
from featalign.errors import DataError, WeightsError
from featalign.files import atomic_path, read_json, write_atomically
from featalign.models.factory import create_model
from featalign.models.folding import folded
from featalign.models.hub import PREFIX, HubModel, fetch
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
    write_atomically(folder / CONFIG, json.dumps({"featalign": featalign.__version__, **config}, indent=1) + "\n")


def load_model(source: Path | str, *, local_files_only: bool = False) -> Segmentor:
    """The model of a folder, of a training run, or of the Hugging Face hub, in evaluation mode.

    Args:
        source: a model folder or the run folder that holds one; what exists as a path is that. A string of the form
            ``owner/name`` or ``owner/name@revision`` that is no path is a model on the hub, and so is either with
            ``hub:`` before it: ``config.json`` and ``model.safetensors`` are read from there or from the hub's cache,
            and no other file is.
        local_files_only: of the hub, take only what is in the cache.

    Raises:
        WeightsError: if a file is missing, corrupt, a pickle, or of another network; the message says which.
    """
    folder = _folder_of(source, local_files_only=local_files_only)
    config = read_config(folder / CONFIG)
    if "detector" in config:
        raise WeightsError(f"{folder}: is a detector; load it with load_detector")
    try:
        # Whatever the file says, building the network reads no other weights.
        model = create_model(**{**config["model"], "pretrained": False}, classes=Classes.from_json(config))
        model.normalization = Normalization.from_json(config["normalization"])
        model = folded(model) if config.get("folded") else model
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise WeightsError(f"{folder / CONFIG}: does not describe a model ({error})") from error
    fit_state(model, read_safetensors(folder / WEIGHTS), source=str(folder / WEIGHTS))
    return model.eval()


def _folder_of(source: Path | str, *, local_files_only: bool) -> Path:
    named = _on_hub(source)
    if named is None:
        return model_folder(Path(source))
    try:
        return _fetched(named, local_files_only=local_files_only)
    except WeightsError as error:
        if str(source).startswith(PREFIX):
            raise
        raise WeightsError(f"{source}: no such folder here, and on the hub {error}") from error


def _on_hub(source: Path | str) -> HubModel | None:
    """The model on the hub that ``source`` names; None where it is a path."""
    text = source.as_posix() if isinstance(source, Path) else source
    if Path(source).exists() or (isinstance(source, Path) and not text.startswith(PREFIX)):
        return None
    return HubModel.parse(text)


def _fetched(model: HubModel, *, local_files_only: bool) -> Path:
    """The folder in the hub's cache with both files, of one commit. The weights come once the configuration is ours."""
    config = fetch(model, CONFIG, local_files_only=local_files_only)
    if not {"model", "classes", "normalization"} <= read_config(config).keys():
        raise WeightsError(f"{model}: its {CONFIG} is of another library; expected a model that featalign shared")
    commit = config.parent.name
    return fetch(model._replace(revision=commit), WEIGHTS, local_files_only=local_files_only).parent


def model_folder(path: Path) -> Path:
    """Where the model of ``path`` lies: ``path`` itself, or its folder ``model``. Raises WeightsError."""
    for folder in (path, path / "model"):
        if (folder / CONFIG).is_file():
            return folder
    if not path.exists():
        raise WeightsError(
            f"{path}: no such folder; expected a model folder, a training run, or a model on the hub as hub:owner/name"
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


def read_config(path: Path) -> dict[str, Any]:
    """What a model's ``config.json`` holds. Raises WeightsError if it is no such file."""
    return read_json(path, error=WeightsError, expected="the description of a model (an object)")
