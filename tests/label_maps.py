"""Label maps for the tests of metrics: blocks with ragged edges and void, and small random ones for hypothesis."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

CLASSES = 3


def blocks(height: int, width: int, *, classes: int = CLASSES, seed: int = 0, void: float = 0.1) -> Tensor:
    """Blocks of 4x4 pixels, some pixels of another class, some void."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(classes, (height // 4 + 1, width // 4 + 1), generator=generator)
    labels = coarse.repeat_interleave(4, 0).repeat_interleave(4, 1)[:height, :width].clone()
    speckle = torch.rand(height, width, generator=generator)
    labels[speckle < 0.1] = torch.randint(classes, (int((speckle < 0.1).sum()),), generator=generator)
    labels[speckle > 1 - void] = 255
    return labels


def pair(height: int, width: int, *, classes: int = CLASSES, seed: int = 0, void: float = 0.1) -> tuple[Tensor, Tensor]:
    """A prediction, right in most blocks, and its target."""
    target = blocks(height, width, classes=classes, seed=seed, void=void)
    other = blocks(height, width, classes=classes, seed=seed + 1000, void=0)
    pred = target.roll(1, dims=-1)
    pred = pred.where(blocks(height, width, classes=4, seed=seed + 2000, void=0) > 0, other)
    return pred.where(pred != 255, other), target


@st.composite
def small_pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Maps of up to 9 x 9 pixels: prediction in 0 … 2, target in 0 … 2 or 255."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    pred = draw(arrays(np.uint8, shape, elements=st.integers(0, CLASSES - 1)))
    target = draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255])))
    return torch.from_numpy(pred), torch.from_numpy(target)
