"""What every metric is: integer counts that add up over images and processes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import ClassVar, Self, TypeVar

import torch
import torch.distributed as dist
from numpy.typing import ArrayLike
from torch import Tensor

from featalign.metrics.counts import Values, mean_of_defined


class Accumulator:
    """Base of the metrics: named int64 counts on the CPU, and the settings that two of them must share to add up.

    Integers have no rounding and no order, so any split of the images over processes gives the identical score.
    """

    COUNTS: ClassVar[tuple[str, ...]]
    """Names of the attributes that hold the counts."""
    SETTINGS: ClassVar[tuple[str, ...]] = ("classes", "ignore_index")
    """Names of the attributes that say what is counted."""

    def state(self) -> dict[str, Tensor]:
        """A copy of the counts by name; tensors of one shape in every process, so they can be summed or gathered."""
        return {name: getattr(self, name).clone() for name in self.COUNTS}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Replaces the counts by those that :meth:`state` gave, on any device.

        Raises:
            ValueError: if names, shapes or types are not those of this metric. Nothing is replaced then.
        """
        expected = {name: tuple(getattr(self, name).shape) for name in self.COUNTS}
        got = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if got != expected or any(tensor.dtype != torch.int64 for tensor in state.values()):
            types = {str(tensor.dtype) for tensor in state.values()}
            raise ValueError(f"got counts {got} of {types}; {type(self).__name__} expects int64 counts {expected}")
        for name, tensor in state.items():
            setattr(self, name, tensor.detach().cpu().clone())

    def __add__(self, other: Self) -> Self:
        """The counts of both. Raises ValueError if the two count different things."""
        if type(other) is not type(self):
            return NotImplemented
        for name in self.SETTINGS:
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                raise ValueError(
                    f"got {name} {ours} and {theirs}; {type(self).__name__}s add up only if both have the same"
                )
        total, added = copy.copy(self), other.state()
        total.load_state({name: counts + added[name] for name, counts in self.state().items()})
        return total


class ClassMetric(Accumulator):
    """A metric with a score for each class, that keeps a few counts for each of them.

    Scores take the counts as an argument too: sums over some of the images, or a stack of such sums at once.
    """

    COUNTS = ("counts",)
    counts: Tensor
    """int64 (R, K) on the CPU."""
    update: Callable[..., None]

    def by_class(self, counts: ArrayLike) -> Values:
        """The score of each class (..., K) from counts (..., R, K), in [0, 1] or nan."""
        raise NotImplementedError

    def mean(self, counts: ArrayLike) -> Values:
        """Mean over the classes that have a score (...)."""
        return mean_of_defined(self.by_class(counts))


Metric = TypeVar("Metric", bound=Accumulator)


def sum_over_processes(metric: Metric) -> Metric:
    """The counts of all processes of ``torch.distributed``, in each of them; of this one where there is no group.

    Every process must call it, with a metric of the same settings.
    """
    total = copy.copy(metric)
    state = metric.state()
    if dist.is_available() and dist.is_initialized():
        device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
        state = {name: counts.to(device) for name, counts in state.items()}
        for counts in state.values():
            dist.all_reduce(counts)
    total.load_state(state)
    return total
