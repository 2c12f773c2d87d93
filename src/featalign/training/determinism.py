"""Whether a network can be trained with operations that repeat bit for bit; if not, which one and where.

Belongs before the first step of a run with ``training.deterministic``, once the network is on its device.
:func:`featalign.training.guards.deterministic` is what then holds torch to it.
"""

from __future__ import annotations

import copy
import re
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featalign.errors import ConfigError
from featalign.training.recipe import DataRecipe

_LARGEST = 128  # pixels per side: which operations run does not depend on the size
_MARK = " does not have a deterministic implementation"
_FRAME = re.compile(r'File "(.+)", line (\d+), in (\S+)')
_OURS = (str(Path(torch.__file__).parent), __file__)


def require_deterministic(learner: nn.Module, batch: Mapping[str, Any]) -> None:
    """Rehearse the first two steps, one of each kind of question, on a copy of ``learner``.

    Args:
        learner: called with a batch and the step; gives a mapping with "loss". Nothing of it changes.
        batch: what :meth:`featalign.training.tasks.Task.drawn` made up, on the learner's device.

    Raises:
        ConfigError: naming the operation that has no deterministic form here, and where the network uses it.
    """
    device = next(learner.parameters()).device
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        torch.use_deterministic_algorithms(True)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            _rehearse(copy.deepcopy(learner), batch, device=device)
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)


def drawn_images(data: DataRecipe, device: torch.device) -> Tensor:
    """Two images of noise, (2, C, H, W), as they are read; torch's global generator is left as it is."""
    size = [min(side, _LARGEST) for side in data.crop]
    generator = torch.Generator(device).manual_seed(0)
    images = torch.randint(0, 2**data.depth, (2, data.channels, *size), device=device, generator=generator)
    return images.to(torch.uint8 if data.depth == 8 else torch.float32)


def _rehearse(learner: nn.Module, batch: Mapping[str, Any], *, device: torch.device) -> None:
    with warnings.catch_warnings(record=True) as told, torch.autograd.set_detect_anomaly(True):
        warnings.simplefilter("always")
        try:
            for step in range(2):
                loss: Any = learner.train()(batch, step)["loss"]
                loss.backward()
        except RuntimeError as error:
            if _MARK not in str(error):
                raise
            # torch tells where a failing step backwards came from in a warning.
            texts = [str(warning.message) for warning in told]
            where = _innermost([*texts, "".join(traceback.format_tb(error.__traceback__))])
            raise ConfigError(
                f"training.deterministic: {str(error).split(_MARK)[0]} has no deterministic form on {device.type}; "
                f"it is used in {where}; train without deterministic, on the CPU, or with another part in that place"
            ) from error


def _innermost(tracebacks: list[str]) -> str:
    """The last place in the first traceback that has one outside of torch."""
    for text in tracebacks:
        places = [found for found in _FRAME.findall(text) if not found[0].startswith(_OURS)]
        if places:
            file, line, function = places[-1]
            return f"{'/'.join(Path(file).parts[-3:])}, line {line}, in {function}"
    return "a place that torch does not tell"
