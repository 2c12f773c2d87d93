"""What the aligning modules of a model see and do, collected by forward hooks while it answers.

A step is an outermost module that aligns: a fuse ``forward(coarse, fine)``, a resampler ``forward(x, size)``, the
implicit function, AlignCM. The aligners inside it add what they predict. The model itself is not changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from featalign.align import ImplicitFunction
from featalign.backbones import Pyramid
from featalign.context.aligncm import AlignCM
from featalign.inference.readers import parameters, readers
from featalign.inference.steps import Recording, Step, channel_mean
from featalign.models import FeaturePyramid

_SIGNATURES = (["coarse", "fine"], ["coarse", "reference"], ["x", "reference"], ["x", "size"])


@contextmanager
def recording(model: nn.Module) -> Iterator[Recording]:
    """Collect while the block runs the model on one image; hooks are gone when it ends, however it ends."""
    found = Recording()
    with ExitStack() as hooks:
        for name, module, starts in _watched(model):
            if starts:
                hooks.enter_context(module.register_forward_pre_hook(partial(_begin, found, name)))
            for target, read in readers(module, inside=not starts):
                hooks.enter_context(target.register_forward_hook(partial(read, found)))
            if starts:
                hooks.enter_context(module.register_forward_hook(partial(_end, found)))
        yield found


def _watched(model: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """Names, modules, and whether each is a step; without the insides of backbones, where some look like one, and of a
    detector's heads, which align nothing."""
    step = backbone = " "  # no name begins with it
    modules = dict(model.named_modules())
    above = next((f"{name}." for name, module in modules.items() if name and isinstance(module, FeaturePyramid)), "")
    for name, module in modules.items():
        if name.startswith(backbone) or not name.startswith(above):
            continue
        within = f"{name}." if name else ""
        if isinstance(module, Pyramid):
            backbone = within
        starts = not isinstance(module, Pyramid) and not name.startswith(step) and _is_step(module)
        if starts:
            step = within
        yield name, module, starts


def _is_step(module: nn.Module) -> bool:
    if isinstance(module, (ImplicitFunction, AlignCM)):
        return True
    return parameters(module) in _SIGNATURES


def _begin(found: Recording, name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
    """A step's own inputs."""
    found.steps.append(Step(name, type(module).__name__))
    if isinstance(module, ImplicitFunction):
        maps = {f"level {i}": channel_mean(level) for i, level in enumerate(inputs[0], start=1)}
    else:
        maps = dict(zip(_names(inputs), map(channel_mean, _tensors(inputs)), strict=True))
    found.steps[-1].maps |= maps
    found.steps[-1].entering = tuple((values.shape[0], values.shape[1]) for values in maps.values())


def _end(found: Recording, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
    """A step's own output; the implicit function's is the logits, which the segmentation shows."""
    if not isinstance(module, ImplicitFunction):
        found.steps[-1].maps["fused" if len(_tensors(inputs)) == 2 else "after"] = channel_mean(output)


def _tensors(inputs: tuple[Any, ...]) -> list[Tensor]:
    return [x for x in inputs if isinstance(x, Tensor)]


def _names(inputs: tuple[Any, ...]) -> tuple[str, ...]:
    return ("coarse", "fine") if len(_tensors(inputs)) == 2 else ("before",)
