"""Two evaluations of the same images, score by score, with the interval that the choice of images leaves open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featalign.errors import DataError
from featalign.inference import Evaluation
from featalign.inference.counted import METRIC_TITLES
from featalign.inference.grouping import TITLES
from featalign.inference.packing import Counts
from featalign.metrics import (
    FEW_IMAGES,
    Interval,
    iou,
    mean_accuracy,
    mean_iou,
    paired_bootstraps,
    pixel_accuracy,
)
from featalign.metrics.counts import Score


@dataclass(frozen=True)
class Row:
    """One score of both runs, in [0, 1], nan where there is nothing to count; ``interval``: of a - b."""

    name: str
    a: float
    b: float
    interval: Interval

    @property
    def verdict(self) -> str:
        """What may be said: which is better, or that none can be said to be."""
        if np.isnan(self.interval.difference) or np.isnan(self.interval.low):
            return "cannot be compared"
        if not self.interval.decided:
            return "no difference can be claimed"
        return f"{'A' if self.interval.difference > 0 else 'B'} is better"

    def to_json(self) -> dict[str, Any]:
        """Plain values, None for nan."""
        scores = {run: None if np.isnan(value) else value for run, value in (("a", self.a), ("b", self.b))}
        return {**scores, **self.interval.to_json(), "decided": self.interval.decided}


@dataclass(frozen=True)
class Differing:
    """An image: mIoU of both runs over its classes, and the least share of its labelled pixels that one run has right
    and the other wrong."""

    name: str
    a: float
    b: float
    share: float


@dataclass(frozen=True)
class Comparison:
    """Run a against run b.

    Attributes:
        a, b: the evaluations, of the same images and masks.
        scores: mIoU, pixel accuracy, mean accuracy, then what both have of category IoU, iIoU, further metrics, and
            mIoU in boundary bands.
        classes: IoU of each class, in their order.
        images: all, the most different first.
    """

    a: Evaluation
    b: Evaluation
    scores: tuple[Row, ...]
    classes: tuple[Row, ...]
    images: tuple[Differing, ...]

    @property
    def warning(self) -> str | None:
        """What to keep in mind of the intervals, if there are few images."""
        if self.a.images >= FEW_IMAGES:
            return None
        return (
            f"{self.a.images} images are few: below {FEW_IMAGES} the intervals come out too narrow, most of all for "
            "classes that only some of them have. Take the intervals as a hint."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; differences are a - b."""
        return {
            "warning": self.warning,
            "scores": {row.name: row.to_json() for row in self.scores},
            "classes": {row.name: row.to_json() for row in self.classes},
            "images": [vars(image) for image in self.images],
        }


def compare(
    a: Evaluation, b: Evaluation, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Comparison:
    """Compare two evaluations image by image: paired bootstrap over the images, see
    :func:`featalign.metrics.paired_bootstrap`.

    Args:
        a, b: of the same images.
        resamples, confidence, seed: of the bootstrap.

    Raises:
        DataError: if classes, images or the pixels labelled in them differ.
    """
    _check_alike(a, b)

    def rows(names: Sequence[str], counts: tuple[Counts, Counts], scores: Score) -> Iterator[Row]:
        found = paired_bootstraps(*counts, scores=scores, resamples=resamples, confidence=confidence, seed=seed)
        first, second = (scores(c.sum(0, dtype=np.float64)).tolist() for c in counts)
        return map(Row, names, first, second, found)

    def row(name: str, counts: tuple[Counts, Counts], score: Score) -> Row:
        return next(rows([name], counts, lambda sums: score(sums)[..., None]))

    return Comparison(
        a,
        b,
        scores=tuple(row(*compared) for compared in _compared(a, b)),
        classes=tuple(rows(a.classes.names, (a.per_image, b.per_image), iou)),
        images=tuple(sorted(_differing(a, b), key=lambda image: (-image.share, image.name))),
    )


def _compared(a: Evaluation, b: Evaluation) -> Iterator[tuple[str, tuple[Counts, Counts], Score]]:
    """The scores that both have: name, counts of each image, and how the score follows from counts."""
    whole = (a.per_image, b.per_image)
    yield "mIoU", whole, mean_iou
    yield "pixel accuracy", whole, pixel_accuracy
    yield "mean accuracy", whole, mean_accuracy
    if a.categories and a.categories == b.categories:
        yield TITLES["category_iou"], (a.per_image_categories, b.per_image_categories), mean_iou
    if a.instances and b.instances:
        counts, metric = (a.instances.per_image, b.instances.per_image), a.instances.metric
        yield TITLES["iiou"], counts, metric.mean
        if "category_iiou" in a.groups.means:
            yield TITLES["category_iiou"], counts, metric.category_mean
    for name in (name for name in a.metrics if name in b.metrics):
        first, second = a.metrics[name], b.metrics[name]
        yield METRIC_TITLES[name], (first.per_image, second.per_image), first.metric.mean
    for width in sorted(set(a.per_image_bands) & set(b.per_image_bands)):
        yield f"mIoU, {width} px", (a.per_image_bands[width], b.per_image_bands[width]), mean_iou


def _differing(a: Evaluation, b: Evaluation) -> Iterator[Differing]:
    """Of a class, at least as many pixels are right in one run alone as their true positives differ by."""
    apart = np.abs(a.per_image[:, 0] - b.per_image[:, 0]).sum(-1)
    labelled = (a.per_image[:, 0] + a.per_image[:, 2]).sum(-1)
    miou = mean_iou(a.per_image), mean_iou(b.per_image)
    for i, name in enumerate(a.names):
        if labelled[i]:
            yield Differing(name, float(miou[0][i]), float(miou[1][i]), float(apart[i] / labelled[i]))


def _check_alike(a: Evaluation, b: Evaluation) -> None:
    if a.classes.names != b.classes.names:
        raise DataError(f"the runs have other classes: {_apart(a.classes.names, b.classes.names)}")
    if a.names != b.names:
        raise DataError(
            f"the runs were scored on other images, {a.images} and {b.images}: {_apart(a.names, b.names)}; "
            "score both on the same split"
        )
    truths = [one.per_image[:, 0] + one.per_image[:, 2] for one in (a, b)]
    other = np.flatnonzero((truths[0] != truths[1]).any(-1))
    if len(other):
        raise DataError(
            f'the masks differ in {len(other)} of {a.images} images, such as "{a.names[other[0]]}": '
            "score both on the same data"
        )


def _apart(a: tuple[str, ...], b: tuple[str, ...]) -> str:
    """What only one of them has, or the first place at which they differ in order."""
    only = [
        f'only {run} has {len(names)}, such as "{min(names)}"'
        for run, names in (("A", set(a) - set(b)), ("B", set(b) - set(a)))
        if names
    ]
    if only:
        return "; ".join(only)
    place = next(i for i, (first, second) in enumerate(zip(a, b, strict=False)) if first != second)
    return f'number {place} is "{a[place]}" in A and "{b[place]}" in B'
