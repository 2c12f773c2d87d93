"""The images that a network is tried on: the first of a folder, or drawn scenes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from featalign.data import read_image
from featalign.data.scenes import SceneDataset
from featalign.inference.listing import collect_images
from featalign.inference.network import Size
from featalign.inference.predictor import as_images
from featalign.inference.resampling import resample, resize_taps
from featalign.spec import Normalization

_COUNT = 2  # images
_DRAWN: Size = (180, 240)


def trial_images(
    folder: Path | None, *, channels: int, normalization: Normalization, size: Size | None = None
) -> list[Tensor]:
    """Pixels (1, ``channels``, H, W) for a network of this ``normalization``: uint8, or whole values in float32 where
    it is of 16 bits.

    Args:
        folder: whose first images are taken; None draws some.
        size: (height, width); default their own.

    Raises:
        DataError: if the folder holds no image, or one that cannot be read as the network's input.
    """
    if folder is None:
        scenes = SceneDataset(_COUNT, size or _DRAWN, seed=7)
        return [_as_input(torch.as_tensor(scenes[i]["image"]), channels, normalization) for i in range(_COUNT)]
    paths = collect_images([folder])[:_COUNT]
    images = [as_images(read_image(path, channels=channels, depth=normalization.depth)) for path in paths]
    return images if size is None else [resized(image, size) for image in images]


def resized(image: Tensor, size: Size) -> Tensor:
    """Pixels (1, C, H, W) at another size, (height, width), in whole values as before: as networks are shown images."""
    rows, columns = (
        resize_taps(before, after, range(after)) for before, after in zip(image.shape[-2:], size, strict=True)
    )
    return resample(image.float(), rows, columns).round().to(image.dtype)


def _as_input(scene: Tensor, channels: int, normalization: Normalization) -> Tensor:
    """An RGB scene with as many channels, in turn, and with values as the network is used to: up to two deviations from
    their mean."""
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (normalization.mean, normalization.std))
    colours = scene[torch.arange(channels) % 3].float() / 255
    values = (mean + (4 * colours - 2) * deviation).clamp(0, 1) * normalization.scale
    return values.round().to(torch.uint8 if normalization.depth == 8 else torch.float32)[None]
