"""Beginning with the weights of another model: what fits is taken, and every tensor is accounted for.

Belongs between building the network and freezing parts of it, on a fresh run only: a resumed one has its own weights.

    report = start_from(model, recipe.training.start_from)
    console.print(report.summary()); console.print(report.table())  # what was loaded, adapted, skipped, and why
    write_json(folder / "start_from.json", report.to_json())
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from featalign.errors import WeightsError
from featalign.training.network import Network
from featalign.training.start_adapt import adapt, class_tensors, share_no_class
from featalign.training.start_report import StartReport, TensorReport
from featalign.training.start_source import Source, first_convolution, read_source


@torch.no_grad()
def start_from(model: Network, source: Path | str) -> StartReport:
    """Load into ``model``, in place, what fits of the weights at ``source``; the rest of it stays as it was.

    A tensor fits if a name and a shape are the same. Besides, the classifier takes the rows of classes of the same name
    where both sides name theirs, and a first convolution of another number of image channels is repeated and rescaled,
    as timm does. Names may lack a common prefix: the weights of a backbone alone find the model's backbone. Where the
    image channels are the same, images are normalized from now on as those weights expect it.

    Args:
        model: on the CPU; ``model.config`` (of :func:`~featalign.models.create_model`) tells which tensors are the
            classifier.
        source: a run or model folder, a checkpoint of the published code, or any ``.safetensors`` or ``.pth`` file.

    Raises:
        WeightsError: if it cannot be read, or nothing in it fits.
    """
    given = read_source(source)
    state = model.state_dict()
    found = _aligned_names(given.state, state)
    here, classifier, first = model.classes.names, class_tensors(model), first_convolution(state)
    rows = [
        _take(name, tensor, found.get(name), here=here, there=given.class_names, classifier=classifier, first=first)
        for name, tensor in state.items()
    ]
    rows += [
        TensorReport(name, "unused", "no tensor of this name here", tuple(tensor.shape))
        for name, tensor in found.items()
        if name not in state
    ]
    told = False
    if given.normalization is not None and _reads_alike(model, given):
        told = given.normalization.scale == model.normalization.scale
        model.normalization = replace(given.normalization, scale=model.normalization.scale)
    report = StartReport(str(source), given.kind, tuple(rows), model.normalization, told)
    if not report.count("loaded") and not report.count("adapted"):
        raise WeightsError(
            f"{source}: nothing in it fits this network: its names begin with {_few(given.state)}, "
            f"the network's with {_few(state)}"
        )
    return report


def _reads_alike(model: Network, source: Source) -> bool:
    """Whether the source's images have as many channels as the model's."""
    name = first_convolution(source.state)
    return name is not None and source.state[name].shape[1] == model.in_channels


def _take(
    name: str,
    target: Tensor,
    given: Tensor | None,
    *,
    here: Sequence[str],
    there: Sequence[str] | None,
    classifier: set[str],
    first: str | None,
) -> TensorReport:
    """Fill ``target`` from ``given`` if that can be done, and say how it went."""
    shape = tuple(target.shape)
    if given is None:
        return TensorReport(name, "missing", "stays at its own start", shape)
    adapted = adapt(name, target, given, here=here, there=there, classifier=classifier, first=first)
    if adapted is not None:
        target.copy_(adapted.value)
        return TensorReport(name, "adapted", adapted.how, shape)
    if name in classifier and share_no_class(here, there):
        return TensorReport(name, "skipped", "other classes, none of the same name", shape)
    if given.shape != target.shape:
        reason = f"{tuple(given.shape)} there, {shape} here"
        return TensorReport(name, "skipped", reason + (": other classes" if name in classifier else ""), shape)
    target.copy_(given)
    return TensorReport(name, "loaded", "", shape)


def _aligned_names(given: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """``given`` under the names of ``state``: with the prefix, of all that it has, under which most tensors fit.

    A prefix other than none needs half of the tensors to fit: twin blocks would take each other's otherwise.
    """
    prefixes = sorted({name[: end + 1] for name in state for end, letter in enumerate(name) if letter == "."})
    shapes = {name: tensor.shape for name, tensor in state.items()}

    def fitting(prefix: str) -> int:
        return sum(shapes.get(prefix + name) == tensor.shape for name, tensor in given.items())

    best = max(["", *prefixes], key=fitting)
    if best and 2 * fitting(best) < len(given):
        return given
    return {best + name: tensor for name, tensor in given.items()}


def _few(names: Mapping[str, Tensor]) -> str:
    return ", ".join(sorted(names)[:2])
