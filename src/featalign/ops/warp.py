"""The learned alignment U(F, D): every output cell takes the feature at its own place moved by an offset (AlignSeg
Eq. 2), under each convention that a published checkpoint was trained with.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.errors import ConfigError, did_you_mean

Sampling = Literal["corrected", "head", "head_ac_true", "initial", "initial_ac_true", "sfnet"]


def warp(x: Tensor, offset: Tensor, *, sampling: Sampling = "corrected") -> Tensor:
    """Maps (B, C, h, w) and offsets (B, 2, H, W) to maps (B, C, H, W); bilinear, zeros outside the map.

    Channel 0 of the offset is x (columns, positive to the right), channel 1 is y (rows, positive downwards); the
    paper prints them the other way round. The offset points from an output cell to where its value is read. Output
    cell 0 starts from the first cell of the map and cell n-1 from the last one (corners on corners), whatever the two
    sizes are. With that start at -1 … 1, ``sampling`` says what one unit of offset is and what -1 and 1 mean:

    ==================  ========================  =========================================================
    ``sampling``        offset is divided by      -1 and 1 are
    ==================  ========================  =========================================================
    ``corrected``       (W - 1) / 2, (H - 1) / 2  centres of the corner cells (``align_corners=True``)
    ``head``            w, h                      outer edges of the corner cells (``align_corners=False``)
    ``head_ac_true``    w, h                      centres of the corner cells
    ``initial``         h, w                      outer edges of the corner cells
    ``initial_ac_true`` h, w                      centres of the corner cells
    ``sfnet``           W, H                      centres of the corner cells
    ==================  ========================  =========================================================

    Only ``corrected`` is Eq. 2: the unit is one output cell, and a zero offset at equal size changes nothing. It is
    what the authors of AlignSeg advise for new training. The others are what their code computed at two dates
    (``initial`` exchanges height and width, which shows on maps that are not square), each before and after PyTorch
    changed its default of ``align_corners``, and what SFNet's code computes; they serve checkpoints trained so. With
    the outer edges a zero offset is not the identity, and the border fades to zero.

    Positions are never rounded to half precision: a half-precision map is sampled in float32 and cast back.

    Raises:
        ConfigError: for an unknown sampling.
        ValueError: if the offset is not (B, 2, H, W).
    """
    check_sampling(sampling)
    if offset.ndim != 4 or offset.shape[1] != 2 or offset.shape[0] != x.shape[0]:
        raise ValueError(f"expected an offset (B={x.shape[0]}, 2, H, W) in (x, y), got {tuple(offset.shape)}")
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    shift = offset.to(dtype)
    height, width = offset.shape[-2:]
    unit_x, unit_y = offset_units(sampling, (x.shape[-2], x.shape[-1]), (height, width))
    columns = _corner_to_corner(width, shift) + shift[:, 0] / unit_x
    rows = _corner_to_corner(height, shift)[:, None] + shift[:, 1] / unit_y
    grid = torch.stack((columns, rows), -1)
    edges = sampling in ("head", "initial")
    return F.grid_sample(x.to(dtype), grid, padding_mode="zeros", align_corners=not edges).to(x.dtype)


def check_sampling(name: str) -> None:
    """For the constructors of modules that will warp. Raises ConfigError for an unknown name."""
    if name not in get_args(Sampling):
        raise ConfigError(f'unknown sampling "{name}": {did_you_mean(name, get_args(Sampling))}')


def offset_units(sampling: Sampling, cells: tuple[int, int], size: tuple[int, int]) -> tuple[float, float]:
    """What the (x, y) offset is divided by, from the map's (h, w) and the output's (H, W)."""
    if sampling == "corrected":
        return max(size[1] - 1, 1) / 2, max(size[0] - 1, 1) / 2
    if sampling == "sfnet":
        return size[1], size[0]
    if sampling.startswith("initial"):
        return cells[0], cells[1]
    return cells[1], cells[0]


def _corner_to_corner(count: int, like: Tensor) -> Tensor:
    """``count`` values from -1 to 1; a single one is -1. By arange: linspace would freeze the count in an export."""
    return torch.arange(count, device=like.device, dtype=like.dtype) * (2 / max(count - 1, 1)) - 1
