"""Whether a written file gives the network's answers, and how fast: both asked the same, on the same images."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from featalign.data import normalize
from featalign.errors import ExportError
from featalign.export.exported import ExportedModel
from featalign.export.metadata import ExportInfo, Precision, Size
from featalign.inference.trial_images import resized
from featalign.models import Segmentor

_RUNS = 3  # per image and size, for the time; after one that warms up
_TOLERANCE: dict[Precision, tuple[float, float]] = {"fp32": (1e-3, 0.999), "fp16": (5e-2, 0.98)}
"""Largest difference of the logits relative to the largest logit, and least share of equal labels."""


@dataclass(frozen=True)
class Comparison:
    """A file beside its network, over all images at one size.

    ``image``, ``answer``: (height, width). ``difference``: the largest between two logits; ``largest``: the largest
    logit of the network, either sign. ``equal``: share of pixels with the same label. ``seconds``: of one image,
    median, of the network in PyTorch and of the file, with as many threads.
    """

    image: Size
    answer: Size
    difference: float
    largest: float
    equal: float
    seconds: tuple[float, float]


def compare(
    model: Segmentor, exported: ExportedModel, images: Sequence[Tensor], *, sizes: Callable[[Size], tuple[Size, Size]]
) -> Comparison:
    """Pixels (1, C, H, W) through both. ``sizes``: from an image's own size to that of input and answer."""
    differences, largest, equal, times = [], [], [], []
    for image in images:
        given, answer = sizes((image.shape[-2], image.shape[-1]))
        pixels = resized(image, given)
        wanted, network_time = _timed(partial(_ask, model, pixels, answer, exported.info))
        found, file_time = _timed(partial(exported.logits, pixels, answer))
        if found.shape != wanted.shape:
            raise ExportError(f"the file answers {tuple(found.shape)} where PyTorch answers {tuple(wanted.shape)}")
        differences.append((found - wanted).abs().max().item())
        largest.append(wanted.abs().max().item())
        equal.append((found.argmax(1) == wanted.argmax(1)).float().mean().item())
        times.append((network_time, file_time))
    network, file = (statistics.median(both) for both in zip(*times, strict=True))
    mean = sum(equal) / len(equal)
    return Comparison(given, answer, max(differences), max(largest), mean, (network, file))


def judge(found: Comparison, precision: Precision) -> None:
    """Raises ExportError if the answers differ more than the precision explains; int8 is judged by mIoU instead."""
    if precision not in _TOLERANCE:
        return
    difference, equal = _TOLERANCE[precision]
    # Not a number compares false, so that it is refused too.
    if found.difference <= difference * found.largest and found.equal >= equal:
        return
    height, width = found.image
    raise ExportError(
        f"the file does not give the network's answers: at {height}x{width} logits differ by up to "
        f"{found.difference:.2g} (the largest is {found.largest:.2g}) and {100 * found.equal:.2f} % of the labels are "
        f"equal; allowed are {difference * found.largest:.2g} and {100 * equal:g} %; nothing was written"
    )


def _ask(model: Segmentor, pixels: Tensor, size: Size, info: ExportInfo) -> Tensor:
    given = pixels if pixels.dtype == torch.uint8 else pixels.float()
    with torch.inference_mode():
        return model(normalize(given, info.normalization), size, info.mode).float()


def _timed(run: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """The answer, and the median time of the runs after the first."""
    answer, seconds = run(), []
    for _ in range(_RUNS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return answer, statistics.median(seconds)
