"""Weights to begin with, from wherever people keep them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from featalign.errors import DataError, WeightsError
from featalign.models import Segmentor, load_published
from featalign.models.published import read_tensors
from featalign.models.storage import CONFIG, WEIGHTS, model_folder, read_safetensors
from featalign.spec import Classes, Normalization


@dataclass(frozen=True)
class Source:
    """Tensors by name, and what is known of them.

    Attributes:
        kind: in words.
        class_names: None where nothing tells.
        normalization: of the images that they were trained on, red first; None where nothing tells.
    """

    state: Mapping[str, Tensor]
    kind: str
    class_names: tuple[str, ...] | None = None
    normalization: Normalization | None = None


def read_source(path: Path | str) -> Source:
    """The weights of a run or model folder, of a published checkpoint, or of a file of tensors.

    Raises:
        WeightsError: if there is none, or it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        path = model_folder(path) / WEIGHTS
    if not path.exists():
        raise WeightsError(f"{path}: no such file or folder; expected a run, a model folder or a file of weights")
    described = _described(path.parent / CONFIG) if path.name == WEIGHTS else None
    if described is not None:
        return Source(read_safetensors(path), "a model of this library", *described)
    return _of_tensors(read_tensors(path))


def first_convolution(state: Mapping[str, Tensor]) -> str | None:
    """The name of the kernel that reads the image: the first of four dimensions in the backbone."""
    kernels = (name for name, tensor in state.items() if name.startswith("backbone.") and tensor.ndim == 4)
    return next(kernels, None)


def _of_tensors(tensors: dict[str, Tensor]) -> Source:
    """Published weights under the names of this library; any others as they are."""
    try:
        published = load_published(tensors)
    except WeightsError:
        return Source(tensors, "a file of tensors")
    state, kind = dict(published.state_dict()), f"published weights ({type(published).__name__})"
    if not isinstance(published, Segmentor):
        return Source(state, kind)
    return Source(state, kind, normalization=_red_first(published.normalization, state))


def _red_first(normalization: Normalization, state: dict[str, Tensor]) -> Normalization:
    """For networks that read blue first: turns mean and first convolution round, since training here reads red first.

    No data set of photographs has more blue than red on average, so the order of the means tells.
    """
    mean = normalization.mean
    name = first_convolution(state)
    if len(mean) != 3 or mean[0] > mean[2] or name is None:
        return normalization
    state[name] = state[name].flip(1)
    return replace(normalization, mean=mean[::-1], std=normalization.std[::-1])


def _described(config: Path) -> tuple[tuple[str, ...], Normalization] | None:
    """Names of the classes and normalization, from the description beside the weights."""
    try:
        content: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
        return Classes.from_json(content).names, Normalization.from_json(content["normalization"])
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None
