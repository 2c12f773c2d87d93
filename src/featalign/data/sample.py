"""What one item of every data set is."""

from __future__ import annotations

from typing import TypedDict

from torchvision import tv_tensors


class Sample(TypedDict):
    """``image``: (C, H, W), uint8, or float32 holding 0 … 65535 where files have 16 bits; ``mask``: class ids, int64
    (H, W); ``name``: for files and logs.
    """

    image: tv_tensors.Image
    mask: tv_tensors.Mask
    name: str
