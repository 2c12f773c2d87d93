"""Scores of a model over a whole split, at the masks' own resolution: one pass, one image in memory at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from featalign.data import Batch, Progress, Samples, in_order, load_batches, silent
from featalign.errors import ConfigError, did_you_mean
from featalign.inference.checks import check_classes
from featalign.inference.counted import METRICS, Counter, stacked
from featalign.inference.grouping import InstanceCounter, categories_of, category_numbers
from featalign.inference.measuring import Meter
from featalign.inference.network import Size
from featalign.inference.predictor import Predictor
from featalign.inference.result import Evaluation, merged
from featalign.metrics import BAND_WIDTHS, InstanceIoU, boundary_targets, confusion_matrix, merge_classes
from featalign.metrics.counts import class_counts
from featalign.spec import Classes


class LabelledSamples(Samples, Protocol):
    """A data set that knows its classes."""

    @property
    def classes(self) -> Classes: ...


def evaluate(
    predictor: Predictor,
    samples: LabelledSamples,
    *,
    boundary_widths: Sequence[int] = BAND_WIDTHS,
    metrics: Collection[str] = (),
    input_size: Size | None = None,
    rank: int = 0,
    ranks: int = 1,
    workers: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Compare a model with every labelled pixel of a split: exact integers, one image in memory at a time.

    Category IoU is in the result if the data's layout has categories, iIoU if all images have files of instances.

    Args:
        predictor: model and how it is run.
        samples: images and masks; the answer is asked at each mask's size. Those it leaves out as unreadable
            (``on_error="skip"``) are in the result, with the reason.
        boundary_widths: in pixels of the mask.
        metrics: ``boundary_iou``, ``boundary_f`` to count these too.
        input_size: resize the images, not the masks, to this before the network sees them: with a smaller one, detail
            must come from the model rather than from the input.
        rank, ranks: score images ``rank``, ``rank + ranks``, … only; :func:`gathered` or :func:`merged` joins parts.
        workers: processes that read ahead; 0 reads here.
        progress: shows how far the loop is.

    Raises:
        DataError: if the classes of model and data differ in number or order, or no pixel is labelled.
        ConfigError: for an unknown metric or a shard that does not exist.
    """
    _check(predictor, samples, metrics, rank, ranks)
    objects = InstanceCounter.of(samples)
    categories = categories_of(samples)
    tally = _Tally(samples.classes, categories, boundary_widths, metrics, objects.metric if objects else None)
    meter = Meter(predictor.device)
    order = in_order(len(samples), rank=rank, ranks=ranks)
    loaded: Iterator[Batch] = load_batches(samples, order, workers=workers)
    for batch in progress(loaded, total=len(order), description="evaluating"):
        target = batch["mask"][0].to(predictor.device)
        size = (target.shape[-2], target.shape[-1])
        numbers = objects.read(batch["name"][0], size) if objects else None
        if objects and numbers is None:
            continue
        labels = meter(partial(predictor.labels, batch["image"], size=size, input_size=input_size))[0]
        tally.add(batch["name"][0], labels, target, numbers)
    skipped = getattr(samples, "skipped", {})
    found = tally.evaluation(predictor.model.classes, skipped=skipped, meter=meter)
    return found.labelled() if ranks == 1 else found


def gathered(part: Evaluation) -> Evaluation:
    """The parts of all processes of ``torch.distributed`` as one, in each of them.

    Raises:
        DataError: if no pixel is labelled in any.
    """
    parts: list[Evaluation | None] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, part)
    return merged(one for one in parts if one is not None)


def _check(predictor: Predictor, samples: LabelledSamples, metrics: Collection[str], rank: int, ranks: int) -> None:
    check_classes(predictor.model.classes, samples.classes)
    if not 0 <= rank < ranks:
        raise ConfigError(f"expected 0 <= rank < ranks, got rank {rank} of {ranks}")
    for name in metrics:
        if name not in METRICS:
            raise ConfigError(f'unknown metric "{name}": {did_you_mean(name, METRICS)}')


class _Tally:
    """Counts of the images so far."""

    def __init__(
        self,
        classes: Classes,
        categories: tuple[str, ...],
        widths: Sequence[int],
        metrics: Collection[str],
        instances: InstanceIoU | None,
    ) -> None:
        self._classes, self._ignore = len(classes), classes.ignore_index
        self._categories, self._numbers = categories, category_numbers(categories)
        self._matrix = torch.zeros(self._classes, self._classes, dtype=torch.int64)
        self._names: list[str] = []
        self._whole: list[Tensor] = []
        self._merged: list[Tensor] = []
        self._bands: dict[int, list[Tensor]] = {width: [] for width in widths}
        self._instances = Counter(instances) if instances else None
        self._metrics = {name: Counter(METRICS[name](self._classes, ignore_index=self._ignore)) for name in metrics}

    def add(self, name: str, labels: Tensor, target: Tensor, numbers: NDArray[np.int32] | None) -> None:
        """Labels and truth (H, W) of one image, on the same device; its instances where they are counted."""
        matrix = confusion_matrix(labels, target, self._classes, self._ignore)
        self._matrix += matrix
        self._names.append(name)
        self._whole.append(class_counts(matrix))
        merged = merge_classes(matrix, self._numbers) if self._categories else matrix[:0, :0]
        self._merged.append(class_counts(merged))
        for width, band in boundary_targets(target, list(self._bands), self._ignore).items():
            self._bands[width].append(class_counts(confusion_matrix(labels, band, self._classes, self._ignore)))
        for metric in self._metrics.values():
            metric.update(labels, target)
        if self._instances is not None and numbers is not None:
            self._instances.update(labels, target, numbers)

    def evaluation(self, classes: Classes, *, skipped: dict[str, str], meter: Meter) -> Evaluation:
        """By name, whatever the order of the images was."""
        order = sorted(range(len(self._names)), key=self._names.__getitem__)
        rows = (3, self._classes)
        return Evaluation(
            classes=classes,
            names=tuple(self._names[i] for i in order),
            per_image=stacked(self._whole, order, rows),
            per_image_bands={width: stacked(counts, order, rows) for width, counts in self._bands.items()},
            per_image_categories=stacked(self._merged, order, (3, len(set(self._categories)))),
            matrix=self._matrix,
            metrics={name: metric.counted(order) for name, metric in self._metrics.items()},
            skipped=dict(skipped),
            seconds=tuple(meter.seconds[i] for i in order),
            peak_memory=meter.peak_memory,
            categories=self._categories,
            instances=self._instances.counted(order) if self._instances else None,
        )
