"""Scores on the validation split, counted exactly however many processes share it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning.fabric import Fabric

from featalign.data import Samples, in_order, load_batches, normalize
from featalign.metrics import ConfusionMatrix, Scores, scores
from featalign.models import Segmentor
from featalign.training.engine import share_buffers, total
from featalign.training.world import World


class Validation:
    """Judges networks on every labelled pixel of ``samples``, image by image, at each mask's own resolution.

    Each image is on exactly one process; none is padded or counted twice.
    """

    def __init__(self, samples: Samples, *, workers: int, fabric: Fabric, world: World) -> None:
        self.samples = samples
        self._workers, self._fabric, self._world = workers, fabric, world

    def __call__(self, model: Segmentor, *, seen: Callable[[], bool]) -> Scores | None:
        """The scores of ``model``, whose mode is put back. ``seen`` is called after each image; true gives up: None."""
        share_buffers(model)
        was_training = model.training
        model.eval()
        confusion = ConfusionMatrix(len(model.classes), ignore_index=model.classes.ignore_index)
        share = in_order(len(self.samples), rank=self._world.rank, ranks=self._world.size)
        with torch.no_grad(), self._fabric.autocast():
            for batch in load_batches(self.samples, share, workers=self._workers):
                images = normalize(self._fabric.to_device(batch["image"]), model.normalization)
                logits = model(images, size=batch["mask"].shape[-2:])
                confusion.update(logits.argmax(dim=1).cpu(), batch["mask"])
                if seen():
                    break
            else:
                model.train(was_training)
                return scores(total(confusion.matrix.to(self._fabric.device)).cpu())
        model.train(was_training)
        return None
