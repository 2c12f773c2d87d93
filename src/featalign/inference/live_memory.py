"""How much memory a network takes to look at an image, found without computing: shapes alone are run."""

from __future__ import annotations

import copy
import itertools
import weakref
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from featalign.models import Segmentor


class Looking(NamedTuple):
    """Bytes for one image: ``peak`` while it is encoded, input included; ``kept``, what the features take after."""

    peak: int
    kept: int


class EncoderMemory:
    """Bytes that ``model.encode`` takes, by size of the input; in float32, which bounds every other precision."""

    def __init__(self, model: Segmentor) -> None:
        self._model = model
        self._measured: dict[tuple[int, int], Looking] = {}

    @cached_property
    def _shapes(self) -> Segmentor:
        """The model without numbers: no tensor of it is ever copied."""
        tensors = itertools.chain(self._model.parameters(), self._model.buffers())
        return copy.deepcopy(self._model, {id(x): _without_numbers(x) for x in tensors}).eval()

    def __call__(self, size: tuple[int, int]) -> Looking:
        """For one image of ``size`` (h, w), rounded up to multiples of 32."""
        rounded = -(-size[0] // 32) * 32, -(-size[1] // 32) * 32
        if rounded not in self._measured:
            self._measured[rounded] = self._measure(*rounded)
        return self._measured[rounded]

    def _measure(self, height: int, width: int) -> Looking:
        shapes = self._shapes
        with torch.no_grad(), _LiveBytes() as live:
            image = torch.empty(1, shapes.in_channels, height, width, device="meta")
            features = shapes.encode(image.contiguous(memory_format=torch.channels_last))
        storages = {id(m.untyped_storage()): m.untyped_storage().nbytes() for m in features.maps}
        return Looking(live.peak, sum(storages.values()))


def _without_numbers(x: Tensor) -> Tensor:
    meta = torch.empty_like(x, device="meta", requires_grad=False)
    return nn.Parameter(meta, requires_grad=False) if isinstance(x, nn.Parameter) else meta


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors made inside the block that are still alive, and their ``peak``."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._watch(leaf.untyped_storage())
        self.peak = max(self.peak, self.live)
        return result

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.live += size
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size
