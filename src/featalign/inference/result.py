"""What a split says of a model, image by image, so that two models can be compared on the same images later."""

from __future__ import annotations

import functools
import operator
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featalign.errors import DataError
from featalign.inference.counted import METRICS, Counted, pack_instances, read_instances
from featalign.inference.grouping import GroupScores
from featalign.inference.packing import Counts, packed, unpacked
from featalign.metrics import InstanceIoU, Scores, scores
from featalign.metrics.scores import scores_of_counts
from featalign.spec import Classes


@dataclass(frozen=True)
class Evaluation:
    """What a split, or a part of one, says of a model. Parts add up: ``a + b``, in any order, to the same values.

    Attributes:
        classes: names and colours.
        names: of the images, sorted.
        per_image: int64 (N, 3, K), for each image its true positives, false positives and false negatives by class.
        per_image_bands: the same by width of the boundary band, over the pixels at most that far from another class.
        per_image_categories: int64 (N, 3, C), the same by category, in the order in which ``categories`` has them.
        matrix: int64 (K, K) over all labelled pixels, rows = truth.
        metrics: further ones that were asked for, by name: ``boundary_iou``, ``boundary_f``.
        skipped: the images that could not be read, with the reason.
        seconds: of each image, network alone.
        peak_memory: bytes that the network and its answers took at most, None where the system does not say.
        categories: the category of each class; empty where the data have none.
        instances: what was counted of single objects; None where the data do not tell them apart.
    """

    classes: Classes
    names: tuple[str, ...]
    per_image: Counts
    per_image_bands: Mapping[int, Counts]
    per_image_categories: Counts
    matrix: Tensor
    metrics: Mapping[str, Counted[Any]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    seconds: tuple[float, ...] = ()
    peak_memory: int | None = None
    categories: tuple[str, ...] = ()
    instances: Counted[InstanceIoU] | None = None

    @property
    def images(self) -> int:
        """How many were scored."""
        return len(self.names)

    @property
    def seconds_per_image(self) -> float:
        """Median; nan without any."""
        return float(np.median(self.seconds)) if self.seconds else float("nan")

    @cached_property
    def scores(self) -> Scores:
        """Over all labelled pixels."""
        return scores(self.matrix)

    @cached_property
    def groups(self) -> GroupScores:
        """Category IoU and iIoU, as far as the data have categories and instances."""
        instances = self.instances.metric if self.instances else None
        return GroupScores.of(self.matrix, self.classes, self.categories, instances)

    @cached_property
    def boundary(self) -> dict[int, Scores]:
        """By width of the band."""
        return {width: scores_of_counts(counts.sum(0)) for width, counts in self.per_image_bands.items()}

    def __add__(self, other: Evaluation) -> Evaluation:
        """Both parts. Raises DataError if they share an image, or were not scored alike."""
        self._check_addable(other)
        names = (*self.names, *other.names)
        order = sorted(range(len(names)), key=names.__getitem__)
        seconds = (*self.seconds, *other.seconds)
        peaks = [peak for peak in (self.peak_memory, other.peak_memory) if peak is not None]
        return Evaluation(
            classes=self.classes,
            names=tuple(names[i] for i in order),
            per_image=np.concatenate((self.per_image, other.per_image))[order],
            per_image_bands={
                width: np.concatenate((counts, other.per_image_bands[width]))[order]
                for width, counts in self.per_image_bands.items()
            },
            per_image_categories=np.concatenate((self.per_image_categories, other.per_image_categories))[order],
            matrix=self.matrix + other.matrix,
            metrics={name: metric.joined(other.metrics[name], order) for name, metric in self.metrics.items()},
            skipped=dict(sorted({**self.skipped, **other.skipped}.items())),
            seconds=tuple(seconds[i] for i in order),
            peak_memory=max(peaks, default=None),
            categories=self.categories,
            instances=self.instances.joined(other.instances, order) if self.instances and other.instances else None,
        )

    def _check_addable(self, other: Evaluation) -> None:
        twice = set(self.names) & set(other.names)
        if twice:
            raise DataError(f'{len(twice)} images are in both parts, among them "{min(twice)}"; merge each shard once')
        ours, theirs = (
            (part.classes, set(part.per_image_bands), set(part.metrics), part.categories, part.instances is None)
            for part in (self, other)
        )
        if ours != theirs:
            raise DataError(
                "the parts have other classes, categories, boundary widths or metrics, or only one has instances; "
                "score all shards alike"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain values; absent classes have no IoU and are named. :meth:`from_json` reads all of it back."""
        return {
            "images": self.images,
            **_named(self.scores, self.classes),
            **self.groups.to_json(),
            "boundary": {f"{width}px": _named(band, self.classes) for width, band in self.boundary.items()},
            **{name: found.metric.scores().to_json() for name, found in self.metrics.items()},
            "confusion": self.matrix.tolist(),
            "seconds_per_image": round(self.seconds_per_image, 4) if self.seconds else None,
            "peak_memory": self.peak_memory,
            "skipped": dict(self.skipped),
            "counts": {
                **self.classes.to_json(),
                "names": list(self.names),
                "per_image": packed(self.per_image),
                "per_image_bands": {str(width): packed(counts) for width, counts in self.per_image_bands.items()},
                "per_image_categories": packed(self.per_image_categories),
                "metrics": {name: packed(found.per_image) for name, found in self.metrics.items()},
                "categories": list(self.categories),
                "instances": pack_instances(self.instances) if self.instances else None,
                "seconds": list(self.seconds),
            },
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Evaluation:
        """What :meth:`to_json` was called on. Raises DataError if ``content`` is not from there."""
        try:
            counts = content["counts"]
            classes, instances = Classes.from_json(counts), counts["instances"]
            ignored = classes.ignore_index
            return cls(
                classes=classes,
                names=tuple(counts["names"]),
                per_image=unpacked(counts["per_image"]),
                per_image_bands={int(width): unpacked(band) for width, band in counts["per_image_bands"].items()},
                per_image_categories=unpacked(counts["per_image_categories"]),
                matrix=torch.tensor(content["confusion"], dtype=torch.int64),
                metrics={
                    name: Counted.read(METRICS[name](len(classes), ignore_index=ignored), rows)
                    for name, rows in counts["metrics"].items()
                },
                skipped=dict(content["skipped"]),
                seconds=tuple(counts["seconds"]),
                peak_memory=content["peak_memory"],
                categories=tuple(counts["categories"]),
                instances=read_instances(instances, len(classes), ignored) if instances else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError, zlib.error) as error:
            raise DataError(f"is not what `featalign eval --json` writes ({error!r})") from error

    def labelled(self) -> Evaluation:
        """Itself. Raises DataError if no pixel has a label."""
        if not self.matrix.any():
            raise DataError("no pixel of this split has a label; there is nothing to score")
        return self


def merged(parts: Iterable[Evaluation]) -> Evaluation:
    """All shards of a split as one. Raises DataError if they do not belong together, or no pixel has a label."""
    return functools.reduce(operator.add, parts).labelled()


def _named(found: Scores, classes: Classes) -> dict[str, Any]:
    """Scores under the names of the classes."""
    values = {
        name: value
        for i, (name, value) in enumerate(zip(classes.names, found.iou, strict=True))
        if i not in found.absent
    }
    return {**found.to_json(), "iou": values, "absent": [classes.names[i] for i in found.absent]}
