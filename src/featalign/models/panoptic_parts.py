"""What panoptic networks of two branches, things and stuff, share: the order of their classes, and the check of their
targets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from featalign.errors import ConfigError


def require_both(name: str, things: Sequence[int], stuff: Sequence[int]) -> None:
    """Raises ConfigError without things, or without stuff."""
    if not things or not stuff:
        raise ConfigError(f"{name} needs things and stuff, got {len(things)} and {len(stuff)} classes")


def channel_tables(ids: Sequence[int], classes: int) -> tuple[Tensor, Tensor]:
    """Of a branch whose channel 0 is no class of its own: the class id of each channel, -1 for 0; the channel of each
    of all ``classes``, 0 for those of the other branch. int64 (1 + len(ids)) and (classes)."""
    channels = torch.zeros(classes, dtype=torch.int64)
    channels[list(ids)] = torch.arange(1, len(ids) + 1)
    return torch.tensor([-1, *ids]), channels


def require_targets(
    targets: Sequence[dict[str, Tensor]] | None, sizes: Sequence[tuple[int, int]]
) -> Sequence[dict[str, Tensor]]:
    """Targets of :func:`~featalign.data.objects.panoptic_target`. Raises ValueError if they are not of these images."""
    if targets is None or len(targets) != len(sizes):
        raise ValueError(f"got targets {targets and len(targets)}; in training, expected one for each image")
    for target, size in zip(targets, sizes, strict=True):
        if "semantic" not in target or target["semantic"].shape != size:
            raise ValueError(
                f"got a target with {sorted(target)} for an image of {size[0]} x {size[1]}; expected those of "
                "panoptic_target, with the class of each pixel in `semantic`"
            )
    return targets


def checked_targets(
    targets: Sequence[dict[str, Tensor]] | None, sizes: Sequence[tuple[int, int]], channels: Tensor
) -> list[dict[str, Tensor]]:
    """Those of :func:`require_targets` with labels that are channels of things, from 1.

    Raises:
        ValueError: if they are not of these images, or hold an object that is no thing.
    """
    checked = []
    for target in require_targets(targets, sizes):
        labels = channels[target["labels"] - 1]
        if (labels == 0).any():
            raise ValueError(f"got objects of classes {target['labels'].tolist()}, not all of them things")
        checked.append({**target, "labels": labels})
    return checked
