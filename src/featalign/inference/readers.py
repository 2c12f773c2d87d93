"""How each aligner is read: which of its modules to listen to, and what they tell of the step that is running."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.align import ImplicitFunction
from featalign.align.alignseg import AlignFA
from featalign.align.fapn import DeformableConv, FeatureAlignment
from featalign.align.sfnet import AlignedModule
from featalign.backbones import Pyramid
from featalign.context.aligncm import AlignCM
from featalign.inference.displacement import in_cells, mean_displacement
from featalign.inference.steps import Recording, as_array, channel_mean
from featalign.ops.warp import warp


def readers(module: nn.Module, *, inside: bool) -> Iterator[tuple[nn.Module, Callable[..., None]]]:
    """The modules to listen to for what ``module`` predicts, and how to read them. ``inside``: of a step."""
    if isinstance(module, Pyramid):
        yield module, _read_backbone
    elif isinstance(module, ImplicitFunction):
        for i, block in enumerate(module.content, start=1):
            yield block, partial(_read_map, f"content of level {i}")
        yield module.mlp, _read_hidden
    elif isinstance(module, AlignFA):
        yield module, _read_align_fa
    elif isinstance(module, AlignCM):
        yield module.context, partial(_read_map, "context")
        if module.offset is not None:
            yield module.offset, partial(_read_context_offset, module)
    elif isinstance(module, AlignedModule):
        yield module, _read_flow
    elif isinstance(module, FeatureAlignment):
        yield module, _read_feature_alignment
    elif isinstance(module, DeformableConv):
        yield module, _read_deformable
    elif inside and parameters(module) == ["x", "size"]:
        yield module, partial(_read_map, "coarse, enlarged")


def _read_backbone(found: Recording, module: nn.Module, inputs: tuple[Tensor, ...], output: Sequence[Tensor]) -> None:
    found.backbone = [channel_mean(level) for level in output]


def _read_map(name: str, found: Recording, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
    found.steps[-1].maps[name] = channel_mean(output)


def _read_hidden(found: Recording, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
    """What enters the MLP: the levels, aligned."""
    found.steps[-1].maps["aligned: hidden features before the MLP"] = channel_mean(inputs[0])


def _read_align_fa(found: Recording, module: AlignFA, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    coarse, fine = inputs
    coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=True)
    pair = torch.cat((fine, coarse), 1)
    for name, x, predict in (("coarse", coarse, module.coarse_offset), ("fine", fine, module.fine_offset)):
        if predict is not None:
            offset = predict(pair)
            found.steps[-1].fields[f"{name} map"] = as_array(in_cells(offset, _size(x), module.sampling))
            found.steps[-1].maps[f"{name}, moved"] = channel_mean(warp(x, offset, sampling=module.sampling))


def _read_context_offset(
    aligned: AlignCM, found: Recording, module: nn.Module, inputs: tuple[Tensor], output: Tensor
) -> None:
    bins = found.steps[-1].maps["context"].shape
    found.steps[-1].fields["context"] = as_array(in_cells(output, (bins[0], bins[1]), aligned.sampling))


def _read_flow(found: Recording, module: AlignedModule, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    flows = module.flow(*inputs).chunk(module.flows, 1)
    for name, x, flow in zip(("coarse map", "fine map"), inputs, flows, strict=False):
        found.steps[-1].fields[name] = as_array(in_cells(flow, _size(x), "sfnet"))
    if module.flows == 1:
        found.steps[-1].maps["coarse, moved"] = channel_mean(output)


def _read_feature_alignment(found: Recording, module: nn.Module, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    coarse, reference = inputs
    found.steps[-1].maps |= {"fine, selected": channel_mean(reference), "coarse, enlarged": channel_mean(coarse)}
    found.steps[-1].maps["coarse, aligned"] = channel_mean(output)


def _read_deformable(found: Recording, module: DeformableConv, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    x, reference = inputs
    name = "joint map" if x is reference else "coarse map"  # the variant that aligns after joining
    found.steps[-1].fields[f"{name}, mean of the taps"] = as_array(mean_displacement(*module.sampling(reference)))


def parameters(module: nn.Module) -> list[str]:
    """The names of what ``forward`` takes."""
    return list(inspect.signature(module.forward).parameters)


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]
