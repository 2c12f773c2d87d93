"""What one item of every data set is."""

from __future__ import annotations

from typing import TypedDict

from torchvision import tv_tensors


class Sample(TypedDict):
    """``image``: uint8 (C, H, W); ``mask``: class ids, int64 (H, W); ``name``: for files and logs."""

    image: tv_tensors.Image
    mask: tv_tensors.Mask
    name: str
