"""What preparing a network for inference brings on this machine: each form of it timed and compared, side by side."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from featalign.errors import ConfigError, said
from featalign.inference.devices import choose_device
from featalign.inference.predictor import HALF, Precision
from featalign.models import Segmentor

RUNS = 5  # of each form on each image, in turn, after one that warms up


@dataclass(frozen=True)
class Form:
    """A way to run a network, beside the network as it is.

    ``precision``: what `predict --precision` is to be told. ``seconds``: of one image, median. ``difference``: the
    largest between two logits, relative to the largest logit. ``equal``: share of pixels with the same label.
    """

    name: str
    precision: Precision
    seconds: float
    difference: float
    equal: float


class Optimized(NamedTuple):
    """``model``: batch norms folded, channels last, compiled if that was asked for. ``forms``: as it is, first."""

    model: Segmentor
    forms: list[Form]

    def fastest(self, tolerance: float) -> Form:
        """Of the forms of ``model`` with at most ``tolerance`` of the labels changed."""
        return min((form for form in self.forms if 1 - form.equal <= tolerance), key=lambda form: form.seconds)


def optimize(model: Segmentor, *, images: Sequence[Tensor], device: str = "auto", compiled: bool = False) -> Optimized:
    """Prepare a network for inference, and measure what each step brings.

    Args:
        model: any, in its present state; it is not changed.
        images: normalized, each (1, C, H, W); the times are of these sizes.
        device: where it is to run.
        compiled: also run the backbone through torch.compile, which takes a minute and a C++ compiler.

    Raises:
        ConfigError: if its batch norms cannot be folded, or compiling fails.
    """
    where = choose_device(device)
    images = [image.to(where) for image in images]
    plain = copy.deepcopy(model).to(where).eval()
    prepared = plain.optimized()
    networks = {"as it is": plain, "norms folded, channels last": prepared}
    if compiled:
        prepared = _compiled(prepared, images[0])
        networks["and compiled"] = prepared
    half: list[Precision] = ["bf16", "fp16"] if where.type == "cuda" else ["bf16"]
    forms: list[tuple[str, Segmentor, Precision]] = [(name, network, "fp32") for name, network in networks.items()]
    above = "compiled and" if compiled else "and"
    forms += [(f"{above} under {precision}", prepared, precision) for precision in half]
    return Optimized(prepared, _measured(forms, images))


def _compiled(model: Segmentor, image: Tensor) -> Segmentor:
    result = copy.deepcopy(model)
    backbone = result.get_submodule("backbone")
    backbone.compile(dynamic=True)
    try:
        with torch.inference_mode():
            backbone(image)
    except Exception as error:  # the compiler's own, of many classes
        raise ConfigError(f"torch.compile failed ({said(error, length=200)}); leave --compile out") from error
    return result


def _measured(forms: Sequence[tuple[str, Segmentor, Precision]], images: Sequence[Tensor]) -> list[Form]:
    """Every form on every image, in turn, against the first."""
    answers = {name: [_ask(network, image, precision)[0] for image in images] for name, network, precision in forms}
    seconds: dict[str, list[float]] = {name: [] for name in answers}
    for _ in range(RUNS):
        for name, network, precision in forms:
            seconds[name] += [_ask(network, image, precision)[1] for image in images]
    wanted = answers[forms[0][0]]
    return [
        Form(
            name=name,
            precision=precision,
            seconds=statistics.median(seconds[name]),
            difference=max(_difference(a, b) for a, b in zip(answers[name], wanted, strict=True)),
            equal=statistics.mean(_equal(a, b) for a, b in zip(answers[name], wanted, strict=True)),
        )
        for name, _, precision in forms
    ]


def _difference(found: Tensor, wanted: Tensor) -> float:
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


def _equal(found: Tensor, wanted: Tensor) -> float:
    return (found.argmax(1) == wanted.argmax(1)).float().mean().item()


def _ask(network: Segmentor, image: Tensor, precision: Precision) -> tuple[Tensor, float]:
    """Logits in float32, and the time that they took."""
    context = torch.autocast(image.device.type, HALF[precision]) if precision != "fp32" else nullcontext()
    start = time.perf_counter()
    with torch.inference_mode(), context:
        logits = network(image)
    if image.device.type == "cuda":
        torch.cuda.synchronize(image.device)
    return logits.float(), time.perf_counter() - start
