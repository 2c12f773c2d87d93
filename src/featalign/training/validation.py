"""Judging networks on the validation split, exactly however many processes share it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric import Fabric

from featalign.data import DataSet, in_order, load_collated
from featalign.training.engine import share_buffers
from featalign.training.judging import Judge, Judgement
from featalign.training.network import Network
from featalign.training.world import World


class Validation:
    """Judges networks on ``samples``, image by image.

    Each image is on exactly one process; none is padded or counted twice.

    Args:
        samples: the split.
        collated: makes a batch of one of them.
        judge: begins a judgement.
    """

    def __init__(
        self,
        samples: DataSet[Any],
        *,
        collated: Callable[[list[Any]], Any],
        judge: Callable[[], Judge[Any, Any]],
        workers: int,
        fabric: Fabric,
        world: World,
    ) -> None:
        self.samples = samples
        self._collated, self._judge = collated, judge
        self._workers, self._fabric, self._world = workers, fabric, world

    def __call__(self, model: Network, *, seen: Callable[[], bool]) -> Judgement | None:
        """What ``model`` is worth; its mode is put back. ``seen`` is called after each image; true gives up: None."""
        share_buffers(model)
        was_training, judge = model.training, self._judge()
        model.eval()
        try:
            return judge.judgement() if self._all_seen(model, judge, seen) else None
        finally:
            model.train(was_training)

    def _all_seen(self, model: Network, judge: Judge[Any, Any], seen: Callable[[], bool]) -> bool:
        share = in_order(len(self.samples), rank=self._world.rank, ranks=self._world.size)
        with torch.no_grad(), self._fabric.autocast():
            for batch in load_collated(self.samples, share, self._collated, workers=self._workers):
                judge.see(model, batch, self._fabric.device)
                if seen():
                    return False
        return True
