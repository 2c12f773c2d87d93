"""What the aligning modules of a model see and do, collected by forward hooks while it answers.

A step is an outermost module that aligns: a fuse ``forward(coarse, fine)``, a resampler ``forward(x, size)``, the
implicit function, AlignCM. The aligners inside it add what they predict. The model itself is not changed.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from featalign.align import ImplicitFunction
from featalign.align.alignseg import AlignFA
from featalign.align.fapn import DeformableConv, FeatureAlignment
from featalign.align.sfnet import AlignedModule
from featalign.backbones import Pyramid
from featalign.context.aligncm import AlignCM
from featalign.ops.warp import Sampling, warp

Array = NDArray[np.float32]
_SIGNATURES = (["coarse", "fine"], ["coarse", "reference"], ["x", "reference"], ["x", "size"])


@dataclass
class Step:
    """One module's alignment of one image."""

    module: str
    """Its name in the model."""
    kind: str
    """Its class."""
    maps: dict[str, Array] = field(default_factory=dict)
    """Feature maps by their mean over the channels, (h, w), from what goes in to what comes out."""
    fields: dict[str, Array] = field(default_factory=dict)
    """Which map is moved -> offsets (2, h, w), (x, y) from a cell to where it reads, in cells of its own grid."""

    @property
    def out(self) -> Array:
        """The last map."""
        return list(self.maps.values())[-1]


@dataclass
class Recording:
    """Everything collected, in the order of computation."""

    backbone: list[Array] = field(default_factory=list)
    """The backbone's maps, finest first."""
    steps: list[Step] = field(default_factory=list)


@contextmanager
def recording(model: nn.Module) -> Iterator[Recording]:
    """Collect while the block runs the model on one image; hooks are gone when it ends, however it ends."""
    found = Recording()
    outer = "."  # the name of no module
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if not name.startswith(f"{outer}.") and _is_step(module):
                outer = name
                hooks.enter_context(module.register_forward_pre_hook(partial(_begin, found, name)))
                hooks.enter_context(module.register_forward_hook(partial(_end, found)))
            for target, read in _readers(module):
                hooks.enter_context(target.register_forward_hook(partial(read, found)))
        yield found


def _is_step(module: nn.Module) -> bool:
    if isinstance(module, (ImplicitFunction, AlignCM)):
        return True
    return list(inspect.signature(module.forward).parameters) in _SIGNATURES


def _begin(found: Recording, name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
    step = Step(name, type(module).__name__)
    found.steps.append(step)
    if isinstance(module, ImplicitFunction):
        step.maps |= {f"level {i + 1}": _mean(level) for i, level in enumerate(inputs[0])}
    else:
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        step.maps |= dict(zip(("coarse", "fine") if len(tensors) == 2 else ("before",), map(_mean, tensors), strict=True))


def _end(found: Recording, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
    if not isinstance(module, ImplicitFunction):
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        found.steps[-1].maps["fused" if len(tensors) == 2 else "after"] = _mean(output)
