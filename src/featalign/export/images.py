"""The pixels that an exported file is tried on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.data import read_image
from featalign.data.scenes import SceneDataset
from featalign.export.metadata import ExportInfo, Size
from featalign.inference import collect_images

_COUNT = 2  # images
_DRAWN: Size = (180, 240)


def trial_images(folder: Path | None, info: ExportInfo) -> list[Tensor]:
    """The first images of a folder, or drawn scenes without one: (1, C, H, W) of the graph's pixel type.

    Raises:
        DataError: if the folder holds no image, or one that cannot be read as the network's input.
    """
    if folder is None:
        scenes = SceneDataset(_COUNT, _DRAWN, seed=7)
        return [_as_input(torch.as_tensor(scenes[i]["image"]), info) for i in range(_COUNT)]
    paths, depth = collect_images([folder])[:_COUNT], info.normalization.depth
    arrays = [read_image(path, channels=info.in_channels, depth=depth) for path in paths]
    pixels = getattr(torch, info.pixels)
    return [torch.from_numpy(array.astype(np.int32)).permute(2, 0, 1)[None].to(pixels) for array in arrays]


def resized(image: Tensor, size: Size) -> Tensor:
    """Pixels (1, C, H, W) at another size, in whole values as before."""
    if tuple(image.shape[-2:]) == size:
        return image
    values = F.interpolate(image.float(), size=size, mode="bilinear", antialias=True)
    return values.round().to(image.dtype)


def _as_input(scene: Tensor, info: ExportInfo) -> Tensor:
    """An RGB scene with as many channels, in turn, and with values as the network is used to: up to two deviations from
    their mean."""
    normalization = info.normalization
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (normalization.mean, normalization.std))
    channels = scene[torch.arange(info.in_channels) % 3].float() / 255
    values = (mean + (4 * channels - 2) * deviation).clamp(0, 1) * normalization.scale
    return values.round().to(getattr(torch, info.pixels))[None]
