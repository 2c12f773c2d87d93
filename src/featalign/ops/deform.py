"""Modulated deformable convolution: a convolution whose taps look wherever an offset field sends them.

All kernels give the same values. torchvision's operator runs on CUDA. Everywhere else, where it is slow or does not
exist (half precision, other devices), the taps are sampled one by one and multiplied as one matrix: on one CPU thread
two to three times faster forward, and 3.3 to 6 times with backward (benchmarks/deform.py). Without gradients, where
many channels share their offsets, a CPU samples faster yet by gathering all channels of a cell as one row.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

from featalign.ops.precision import coordinate_dtype, result_dtype
from featalign.ops.products import pointwise

COLUMN_BYTES = 16 << 20  # sampled values held at a time when no gradient is wanted: about what a cache holds
WIDE = 32  # channels that share their offsets, from which on gathering rows is faster than sampling planes


class _Geometry(NamedTuple):
    groups: int
    stride: int
    padding: int
    dilation: int

    def cells(self, index: Tensor, tap: Tensor) -> Tensor:
        """The cell that an ordinary convolution reads for an output cell and a tap, along one axis."""
        return index * self.stride - self.padding + tap * self.dilation


def deform_conv(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    groups: int = 1,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Tensor:
    """Deformable convolution with modulation (DCNv2; FaPN Eq. 3).

    The output at cell p is the sum over taps n of ``weight[n] * mask[n] * x(p + p_n + offset[n])``, where p_n is where
    an ordinary convolution would look. Offsets are (row, col) in cells of ``x``, positive down and right; ``x`` between
    cells is bilinear, and zero outside the map: a tap fades over the one cell beyond the border.
    Positions, sampling and modulation are computed in float32 (float64 where the offset is), also under autocast.

    Args:
        x: (B, C, H, W).
        offset: (B, groups * K * 2, h, w) for K = kernel rows * kernel columns taps, row by row; per group and tap the
            row's offset, then the column's.
        mask: (B, groups * K, h, w), factors of the taps.
        weight: (out_channels, C, kernel rows, kernel columns).
        bias: (out_channels,) or None.
        groups: of C / groups channels each that share their offsets. The convolution itself is dense.
        stride, padding, dilation: as of an ordinary convolution, alike along both axes.

    Returns:
        (B, out_channels, h, w) in the dtype of a convolution of ``x`` by ``weight``.

    Raises:
        ValueError: where shapes do not fit each other.
    """
    geometry = _Geometry(groups, stride, padding, dilation)
    _check(x, offset, mask, weight, geometry)
    kernel = _operator if x.is_cuda else _by_taps
    return kernel(x, offset, mask, weight, bias, geometry)


def _operator(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, geometry: _Geometry
) -> Tensor:
    """torchvision's kernel; it reads the number of groups off the offset's channels."""
    dtype = coordinate_dtype(offset)
    result = deform_conv2d(
        x.to(dtype),
        offset.to(dtype),
        weight.to(dtype),
        None if bias is None else bias.to(dtype),
        stride=geometry.stride,
        padding=geometry.padding,
        dilation=geometry.dilation,
        mask=mask.to(dtype),
    )
    return result.to(result_dtype(x))


def _by_taps(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None, geometry: _Geometry
) -> Tensor:
    """All taps sampled, then multiplied as the channels of a 1x1 convolution."""
    dtype = coordinate_dtype(offset)
    share = mask.to(dtype).unflatten(1, (geometry.groups, -1))
    parts = [*_places(offset.to(dtype), weight, geometry), share]  # each (B, groups, K, h, w)
    gathers = _gathers(x, geometry.groups)
    columns = _gathered if gathers else _sampled
    maps = x.to(dtype, memory_format=torch.channels_last if gathers else torch.preserve_format)  # once for all bands
    matrix = weight.permute(0, 2, 3, 1).flatten(1)[:, :, None, None]
    step = _rows_per_band(x, offset, weight)
    bands = [parts] if step is None else zip(*(part.split(step, 3) for part in parts), strict=True)
    answers = [pointwise(columns(maps, *band).to(weight.dtype), matrix, bias) for band in bands]
    return answers[0] if len(answers) == 1 else torch.cat(answers, 2)


def _places(offset: Tensor, weight: Tensor, geometry: _Geometry) -> tuple[Tensor, Tensor]:
    """Row and column of the map, in cells, where each tap looks: two (B, groups, K, h, w)."""
    height, width = offset.shape[-2:]
    across = weight.shape[3]
    tap = torch.arange(weight.shape[2] * across, device=offset.device)[:, None, None]
    row = geometry.cells(torch.arange(height, device=offset.device)[:, None], tap // across)
    column = geometry.cells(torch.arange(width, device=offset.device), tap % across)
    down, right = offset.unflatten(1, (geometry.groups, -1, 2)).unbind(3)
    return down + row, right + column


def _sampled(maps: Tensor, row: Tensor, column: Tensor, share: Tensor) -> Tensor:
    """Sampled and weighted values (B, K * C, h, w), tap by tap, by one ``grid_sample`` each."""
    groups = row.shape[1]
    planes = maps.unflatten(1, (groups, -1)).flatten(0, 1)
    grid = torch.stack(((2 * column + 1) / maps.shape[3] - 1, (2 * row + 1) / maps.shape[2] - 1), -1)
    taps = []
    for tap in range(grid.shape[2]):
        values = F.grid_sample(planes, grid[:, :, tap].flatten(0, 1), align_corners=False)
        taps.append((values.unflatten(0, (-1, groups)) * share[:, :, None, tap]).flatten(1, 2))
    return torch.cat(taps, 1)


def _gathers(x: Tensor, groups: int) -> bool:
    """Whether rows of ``x`` (B, C, H, W) are gathered, where that is faster than sampling its planes."""
    traced = torch.is_grad_enabled() or torch.compiler.is_compiling()
    return not traced and x.device.type == "cpu" and x.shape[1] >= WIDE * groups


def _gathered(maps: Tensor, row: Tensor, column: Tensor, share: Tensor) -> Tensor:
    """The same, all channels last: weighted sums of four rows, each of which holds the channels of a cell and group."""
    (batch, channels, height, width), (groups, taps) = maps.shape, row.shape[1:3]
    table = maps.permute(0, 2, 3, 1).reshape(-1, channels // groups)
    # In 32 bits: rows are so wide that a map with more of them would take 256 GiB.
    image = torch.arange(batch, dtype=torch.int32)[:, None] * (height * width * groups)
    origin = (image + torch.arange(groups, dtype=torch.int32))[:, :, None, None, None]
    lines = [(origin + cell * (width * groups), part * share) for cell, part in _neighbours(row, height)]
    places = [(cell * groups, part) for cell, part in _neighbours(column, width)]
    corners = [(line + place, down * across) for line, down in lines for place, across in places]
    bags, shares = (torch.stack([t.permute(0, 3, 4, 2, 1) for t in each], -1) for each in zip(*corners, strict=True))
    values = F.embedding_bag(bags.view(-1, 4), table, mode="sum", per_sample_weights=shares.view(-1, 4))
    return values.view(batch, *row.shape[3:], taps * channels).permute(0, 3, 1, 2)


def _neighbours(place: Tensor, cells: int) -> list[tuple[Tensor, Tensor]]:
    """Along one axis the cell before each place and the one after it, each with its share; 0 of those beyond."""
    first = place.floor()
    share, first = place - first, first.clamp(-2, cells).int()
    return [
        (cell.clamp(0, cells - 1), part * ((cell >= 0) & (cell < cells)))
        for cell, part in ((first, 1 - share), (first + 1, share))
    ]


def _rows_per_band(x: Tensor, offset: Tensor, weight: Tensor) -> int | None:
    """None for all at once: with gradients, which need every value anyway, in traced programs, and for shapes alone."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or x.is_meta:
        return None
    row_bytes = 4 * x.shape[0] * offset.shape[3] * weight[0].numel()
    return max(1, COLUMN_BYTES // max(row_bytes, 1))


def _check(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, geometry: _Geometry) -> None:
    if x.ndim != 4 or weight.ndim != 4 or weight.shape[1] != x.shape[1]:
        raise ValueError(
            f"expected a map (B, C, H, W) and a weight (out, C, rows, columns), got {tuple(x.shape)} and "
            f"{tuple(weight.shape)}"
        )
    groups, stride, padding, dilation = geometry
    if groups < 1 or x.shape[1] % groups:
        raise ValueError(f"{x.shape[1]} channels cannot be cut into {groups} groups")
    kernel = (weight.shape[2], weight.shape[3])
    size = [(x.shape[2 + i] + 2 * padding - dilation * (kernel[i] - 1) - 1) // stride + 1 for i in (0, 1)]
    channels = groups * kernel[0] * kernel[1]
    expected = (x.shape[0], 2 * channels, *size), (x.shape[0], channels, *size)
    if (tuple(offset.shape), tuple(mask.shape)) != expected:
        raise ValueError(
            f"expected an offset {expected[0]} and a mask {expected[1]} for a map {tuple(x.shape)} and {groups} "
            f"groups, got {tuple(offset.shape)} and {tuple(mask.shape)}"
        )
