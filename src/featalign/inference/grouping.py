"""Cityscapes' further scores: of categories of classes, and of instances that weigh the same whatever their size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from featalign.data import SegmentationDataset, UnreadableError
from featalign.metrics import CITYSCAPES_INSTANCE_SIZES, InstanceIoU, merge_classes, scores
from featalign.spec import Classes

TITLES = {"category_iou": "category IoU", "iiou": "iIoU", "category_iiou": "category iIoU"}
"""The means by the names they have in recipes and JSON."""


@dataclass(frozen=True)
class GroupScores:
    """Numbers in [0, 1], nan where nothing of the kind occurs; empty where the data have no categories or instances.

    Attributes:
        means: those of :data:`TITLES` that there are.
        category_iou: by category.
        iiou: by class, of those with instances.
        category_iiou: by category, of those all of whose classes have instances.
    """

    means: dict[str, float]
    category_iou: dict[str, float]
    iiou: dict[str, float]
    category_iiou: dict[str, float]

    @classmethod
    def of(
        cls, matrix: Tensor, classes: Classes, categories: Sequence[str], instances: InstanceIoU | None
    ) -> GroupScores:
        """From a confusion matrix (K, K), the category of each class, and what instances were counted."""
        means: dict[str, float] = {}
        by_category: dict[str, float] = {}
        if categories:
            of_categories = scores(merge_classes(matrix, category_numbers(categories)))
            means["category_iou"] = of_categories.miou
            by_category = _by_name(dict.fromkeys(categories), of_categories.iou)
        if instances is None:
            return cls(means, by_category, {}, {})
        found = instances.scores()
        apart = set(instances.instance_classes)
        means["iiou"] = found.miou
        iiou = _by_name(classes.names, found.iou)
        whole = [name for name in by_category if _classes_of(name, categories) <= apart]
        if whole:
            means["category_iiou"] = found.category_miou
        category_iiou = _by_name(by_category, found.category_iou) if categories else {}
        return cls(
            means,
            by_category,
            {name: value for i, (name, value) in enumerate(iiou.items()) if i in apart},
            {name: category_iiou[name] for name in whole},
        )

    def to_json(self) -> dict[str, Any]:
        """The means, and the values by name without those that are nan; nothing where there is nothing."""
        means = {name: None if np.isnan(mean) else mean for name, mean in self.means.items()}
        categories = {"iou": _defined(self.category_iou), "iiou": _defined(self.category_iiou)}
        return {
            **means,
            **({"categories": categories} if self.category_iou else {}),
            **({"instances": {"iiou": _defined(self.iiou)}} if self.iiou else {}),
        }


def category_numbers(categories: Sequence[str]) -> list[int]:
    """The number of each class's category, from 0 in the order in which they occur."""
    order = list(dict.fromkeys(categories))
    return [order.index(name) for name in categories]


def categories_of(samples: object) -> tuple[str, ...]:
    """The category of each class of a data set; empty if it has none."""
    return samples.categories if isinstance(samples, SegmentationDataset) else ()


class InstanceCounter:
    """Counts the instances of a data set's images, found by name."""

    def __init__(self, samples: SegmentationDataset) -> None:
        names = [samples.classes.names[i] for i in samples.instance_classes]
        published = set(names) <= set(CITYSCAPES_INSTANCE_SIZES)
        self._samples = samples
        self._places = {pair.name: i for i, pair in enumerate(samples.samples)}
        self.metric = InstanceIoU(
            len(samples.classes),
            samples.instance_classes,
            mean_sizes=[CITYSCAPES_INSTANCE_SIZES[name] for name in names] if published else None,
            categories=category_numbers(samples.categories) or None,
            ignore_index=samples.classes.ignore_index,
        )

    @classmethod
    def of(cls, samples: object) -> InstanceCounter | None:
        """None if no instances are told apart."""
        return cls(samples) if isinstance(samples, SegmentationDataset) and samples.instance_classes else None

    def read(self, name: str, size: tuple[int, ...]) -> NDArray[np.int32] | None:
        """The instances of one image; None if they cannot be read and the data set skips such images.

        Raises:
            UnreadableError: if they cannot, or are not of the mask's ``size``, and it does not.
        """
        place = self._places[name]
        try:
            numbers = self._samples.instances(place)
            if numbers is not None and numbers.shape != tuple(size):
                raise UnreadableError(
                    f"{self._samples.samples[place].instances}: {numbers.shape[1]} x {numbers.shape[0]} for a mask of "
                    f"{size[1]} x {size[0]}; sizes must be equal"
                )
            return numbers
        except UnreadableError as error:
            self._samples.leave_out(place, error)
            return None


def _by_name(names: Any, values: Sequence[float]) -> dict[str, float]:
    return dict(zip(names, values, strict=True))


def _classes_of(category: str, categories: Sequence[str]) -> set[int]:
    return {i for i, name in enumerate(categories) if name == category}


def _defined(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if not np.isnan(value)}
