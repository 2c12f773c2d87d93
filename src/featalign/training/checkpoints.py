"""Checkpoints: all that training changes, in one folder per checkpoint that is there whole or not at all.

``checkpoints/step-00000500/`` holds ``model.safetensors``, ``average.safetensors`` (where there is a running average),
``trainer.pt`` (optimizer, schedule and gradient scaler: tensors and plain values, read with ``weights_only``) and
``state.json`` (everything else, and the SHA-256 of every file). The last two are kept, so that one that cannot be read
costs no more than the steps between them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from featalign.errors import FeatalignError
from featalign.files import why

KEPT = 2
MODEL, AVERAGE, TRAINER, STATE = "model.safetensors", "average.safetensors", "trainer.pt", "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """A point that training can go on from.

    Attributes:
        step: optimizer steps made.
        validated: whether the validation that is due at this step is done.
        model, average: state of the network and of its running average, if there is one.
        trainer: state of optimizer, schedule and gradient scaler; tensors and plain values only.
        record: what the log, the clock, the guards and the loader need to go on; plain values only.
    """

    step: int
    validated: bool
    model: dict[str, Tensor]
    average: dict[str, Tensor] | None
    trainer: dict[str, Any]
    record: dict[str, Any]

    @property
    def name(self) -> str:
        """Names sort as the points follow each other."""
        return f"step-{self.step:08d}{'-validated' if self.validated else ''}"


def write_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Add ``checkpoint`` to ``folder``: written under a temporary name, flushed to disk, renamed; older ones removed.

    Raises:
        FeatalignError: if it cannot be written; those that were there are as they were.
    """
    target, temporary = folder / checkpoint.name, folder / f".{checkpoint.name}.tmp"
    try:
        remove_leftovers(folder)
        temporary.mkdir(parents=True)
        for name, content in _contents(checkpoint).items():
            _write_through(temporary / name, content)
        _flush_folder(temporary)
        _discard(target)
        temporary.rename(target)
        _flush_folder(folder)
        for old in _newest_first(folder)[KEPT:]:
            _discard(old)
    except OSError as error:
        remove_leftovers(folder)
        raise FeatalignError(f"{target}: checkpoint cannot be written ({why(error)})") from error


def read_checkpoints(folder: Path) -> Iterator[Checkpoint | FeatalignError]:
    """What ``folder`` holds, newest first; an error in place of one that is damaged."""
    for path in _newest_first(folder):
        try:
            yield _read(path)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            yield FeatalignError(f"{path}: checkpoint cannot be read ({reason})")


def has_checkpoints(folder: Path) -> bool:
    """Whether there is any, also if it is damaged."""
    return any(folder.glob("step-*"))


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process had not finished writing, or removing."""
    for path in folder.glob(".step-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def _contents(checkpoint: Checkpoint) -> dict[str, bytes]:
    """The bytes of every file; the state comes last, with the digests of the others."""
    files = {MODEL: _tensors(checkpoint.model), TRAINER: _pickled(checkpoint.trainer)}
    if checkpoint.average is not None:
        files[AVERAGE] = _tensors(checkpoint.average)
    state = {"step": checkpoint.step, "validated": checkpoint.validated, "record": checkpoint.record}
    digests = {name: _digest(content) for name, content in files.items()}
    sealed = {"state": state, "sha256": {**digests, "state": _digest(_canonical(state))}}
    return {**files, STATE: json.dumps(sealed, indent=1).encode()}


def _read(path: Path) -> Checkpoint:
    sealed = json.loads((path / STATE).read_bytes())
    state, digests = sealed["state"], sealed["sha256"]
    contents = {name: (path / name).read_bytes() for name in digests if name != "state"}
    for name, content in {**contents, "state": _canonical(state)}.items():
        if _digest(content) != digests[name]:
            raise ValueError(f"{STATE if name == 'state' else name} is damaged")
    return Checkpoint(
        step=state["step"],
        validated=state["validated"],
        model=safetensors.torch.load(contents[MODEL]),
        average=safetensors.torch.load(contents[AVERAGE]) if AVERAGE in contents else None,
        trainer=torch.load(io.BytesIO(contents[TRAINER]), map_location="cpu", weights_only=True),
        record=state["record"],
    )


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _tensors(state: dict[str, Tensor]) -> bytes:
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})


def _pickled(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _canonical(state: dict[str, Any]) -> bytes:
    return json.dumps(state, sort_keys=True).encode()


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    """A rename is on disk when its folder is. Windows cannot open folders, and needs none of this."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(path: Path) -> None:
    """Out of sight at once, so that nobody meets half a checkpoint; then removed."""
    if path.exists():
        hidden = path.with_name(f".{path.name}.old.tmp")
        path.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)
