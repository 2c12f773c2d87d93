"""Checkpoints of the published code of IFA, AlignSeg, SFNet and FaPN in the modules of this library.

The family, the part and its sizes are read off the names and shapes, so a checkpoint needs no configuration beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featalign.errors import WeightsError, said
from featalign.models.published_alignseg import load_alignseg
from featalign.models.published_fapn import load_fapn
from featalign.models.published_ifa import load_ifa
from featalign.models.published_sfnet import load_sfnet
from featalign.models.storage import read_safetensors
from featalign.ops.warp import Sampling

_WRAPPERS = ("model_state", "state_dict", "model")  # under which training code keeps the weights


def load_published(source: Path | str | Mapping[str, Any], *, sampling: Sampling = "corrected") -> nn.Module:
    """A module of this library with published weights, in evaluation mode.

    Args:
        source: a checkpoint file (``.safetensors``, or a ``torch.save`` archive, which is read as weights only), or
            its content: the tensors, or a mapping that holds them as ``model``, ``state_dict`` or ``model_state``.
        sampling: for AlignSeg's weights only, the convention of the offsets that they were trained with; no name tells.
            Weights released in 2021 are of ``initial``, see :func:`~featalign.ops.warp.warp`.

    Returns:
        The module that the weights are of, from a whole network to a single building block:
        :func:`~featalign.models.published_ifa.load_ifa`, :func:`~featalign.models.published_alignseg.load_alignseg`,
        :func:`~featalign.models.published_sfnet.load_sfnet` and :func:`~featalign.models.published_fapn.load_fapn` say
        which there are.

    Raises:
        WeightsError: if the file cannot be read or the weights are of none of these.
        ConfigError: for an unknown sampling.
    """
    state = read_tensors(source)
    for load in (load_ifa, partial(load_alignseg, sampling=sampling), load_sfnet, load_fapn):
        module = load(state)
        if module is not None:
            return module.eval()
    raise WeightsError(
        f"weights of no published model known here (first names: {', '.join(sorted(state)[:3])}); "
        "expected a network, or a part of one, of the published code of IFA, AlignSeg, SFNet or FaPN"
    )


def read_tensors(source: Path | str | Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights alone, by their published names: unwrapped from a training checkpoint and data-parallel's prefix.

    Raises:
        WeightsError: if the file cannot be read, is not weights alone, or holds none.
    """
    content: Any = source
    if isinstance(source, Path | str):
        path = Path(source)
        content = read_safetensors(path) if path.suffix == ".safetensors" else _read_archive(path)
    while isinstance(content, Mapping) and (inner := _wrapped(content)) is not None:
        content = inner
    if not isinstance(content, Mapping):
        content = {}
    state = {name.removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise WeightsError(f"{source if isinstance(source, Path | str) else 'the mapping'}: holds no tensors")
    return state


def _wrapped(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next((content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)), None)


def _read_archive(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # torch raises many kinds for a damaged or unsafe archive
        raise WeightsError(f"{path}: is not an archive of weights alone ({said(error)})") from error
