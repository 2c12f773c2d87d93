"""Mean and deviation of the images of a data set: the middle and the spread of what a network is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from featalign.data.dataset import SegmentationDataset
from featalign.data.progress import Progress, silent, threaded
from featalign.data.reading import UnreadableError
from featalign.errors import DataError
from featalign.spec import Normalization

AT_MOST = 256
"""Images that are read: as many, evenly spread, tell two digits of what all of them would."""


@runtime_checkable
class Images(Protocol):
    """A data set that can read an image alone: whole numbers (H, W, C)."""

    def __len__(self) -> int: ...

    def pixels(self, index: int, /) -> NDArray[np.integer]: ...


class _Moments(NamedTuple):
    """Of one image: how many pixels it has, and mean and variance of each channel over them, (C,)."""

    pixels: int
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


def measured_normalization(
    images: Images, *, scale: float = 255.0, at_most: int = AT_MOST, progress: Progress = silent
) -> Normalization:
    """What brings each channel to mean 0 and deviation 1, over all pixels of the images.

    For images of 16 bits, whose values rarely reach from 0 to 65535, and for channels that no pretrained weights know.
    Of more than ``at_most`` images as many are read, evenly spread. A channel that is the same everywhere is left as
    wide as one step of its values.

    Args:
        images: a :class:`~featalign.data.SegmentationDataset`, or what reads images as it does; its ``transform`` has
            no part in it. With ``on_error="skip"`` unreadable images are left out.
        scale: the largest value that a pixel can have, 65535 with 16 bits.

    Raises:
        DataError: if an image cannot be read, or there is none.
    """
    chosen = np.linspace(0, len(images) - 1, min(at_most, len(images))).round().astype(int)
    read = progress(
        threaded(lambda index: _moments(images, int(index)), chosen), total=len(chosen), description="measuring images"
    )
    moments = [one for one in read if one is not None]
    if not moments:
        raise DataError(f"none of {len(images)} images can be read, so that their mean and deviation are not known")
    mean, variance = _together(moments)
    deviation = np.maximum(np.sqrt(variance), 1.0)
    return Normalization(tuple((mean / scale).tolist()), tuple((deviation / scale).tolist()), scale)


def _moments(images: Images, index: int) -> _Moments | None:
    try:
        pixels = images.pixels(index)
    except UnreadableError as error:
        if not isinstance(images, SegmentationDataset):
            raise
        images.leave_out(index, error)
        return None
    values = pixels.reshape(-1, pixels.shape[-1])
    return _Moments(len(values), values.mean(0, dtype=np.float64), values.var(0, dtype=np.float64))


def _together(moments: Sequence[_Moments]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each channel over the pixels of all images."""
    weights = np.array([one.pixels for one in moments], np.float64)
    means, variances = (np.stack([getattr(one, name) for one in moments]) for name in ("mean", "variance"))
    mean = np.average(means, axis=0, weights=weights)
    return mean, np.average(variances + (means - mean) ** 2, axis=0, weights=weights)
