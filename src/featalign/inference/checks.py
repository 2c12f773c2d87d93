"""What a predictor is made of and asked, looked at before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from featalign import ops
from featalign.errors import ConfigError, DataError, did_you_mean
from featalign.inference.network import Size
from featalign.models import Detector
from featalign.spec import Classes, Depth


def check_network(model: Any) -> None:
    """Raises ConfigError for what does not label pixels."""
    if isinstance(model, Detector):
        raise ConfigError("this network finds objects; ask it by featalign.inference.detect, or segment if panoptic")
    if not all(hasattr(model, name) for name in ("classes", "in_channels", "normalization")):
        raise ConfigError(
            f"a Predictor takes a network, such as featalign.load(…) or create_model(…) gives, got {_shown(model)}"
        )


def check_classes(own: Classes, given: Classes) -> None:
    """Raises DataError unless data with the ``given`` classes can be scored by a model with its ``own``: equally many,
    and none under another number."""
    ours, theirs = own.names, given.names
    if len(ours) != len(theirs):
        raise DataError(
            f"the model tells {len(ours)} classes apart, the data has {len(theirs)}: score it on data with the classes "
            "that it was trained on"
        )
    for number, name in enumerate(theirs):
        if name in ours and ours[number] != name:
            raise DataError(
                f'"{name}" is class {number} of the data and {ours.index(name)} of the model: number the classes of '
                "the data as in training"
            )


def check_weights(model: nn.Module, precision: str, half: torch.dtype | None) -> None:
    """Raises ConfigError for weights of another type than ``precision`` computes with: images come as float32, and
    autocast makes ``half`` of them."""
    types = {x.dtype for x in model.parameters() if x.is_floating_point()}
    if types and not types & {torch.float32, half}:
        raise ConfigError(
            f"precision {precision} takes a network of float32, got one of {', '.join(sorted(map(str, types)))}; call "
            "its float(), or choose the precision that it has"
        )


def check_choice(name: str, value: object, known: Iterable[str]) -> None:
    """Raises ConfigError for a value that is none of those ``known``."""
    known = tuple(known)
    if value not in known:
        raise ConfigError(f"unknown {name} {value!r}; {did_you_mean(str(value), known)}")


def checked_size(name: str, size: Any) -> Size | None:
    """(height, width) as given, None if it is. Raises ConfigError for anything else."""
    if size is None:
        return None
    try:
        return ops.checked_size(size)
    except ConfigError:
        raise ConfigError(f"{name} must be (height, width), each at least one pixel, got {size!r}") from None


def check_image(image: Any, *, channels: int, depth: Depth) -> None:
    """Raises ConfigError for what is neither a path nor pixels as a network of these ``channels`` and ``depth`` reads
    them."""
    if isinstance(image, str | Path):
        return
    if not isinstance(image, np.ndarray):
        raise ConfigError(f"an image is a path or an array (H, W, {channels}), got {_shown(image)}: use numpy.asarray")
    if image.ndim != 3 or image.shape[2] != channels or not image.size:
        cure = "; move the channels to the end" if image.ndim == 3 and image.shape[0] == channels else ""
        raise ConfigError(f"expected an image (H, W, {channels}), got an array of shape {image.shape}{cure}")
    if image.dtype.kind not in "ui":
        raise ConfigError(f"expected an image of whole numbers, such as uint8, got {image.dtype}")
    if depth == 8 and image.dtype != np.uint8:
        raise ConfigError(f"expected an image of 8 bits, uint8 with 0 … 255, got {image.dtype}; scale and convert it")


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str | Path) else f"a {type(value).__name__}"
