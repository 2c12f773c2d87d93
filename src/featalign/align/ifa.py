"""IFA: an implicit function over all levels of a pyramid, asked at any coordinate (ECCV 2022, section 3.3, Eq. 4).

    level i (B, C_i, h_i, w_i) ──1x1──▶ hidden ──take the cells under each query──┐
    query ── relative coordinate ── position code ──1x1──▶ hidden ────────────────┴─Σ─▶ norm, ReLU, 1x1, … ─▶ answer

The paper concatenates codes and coordinates at every query and multiplies by the first layer's matrix. Here that
matrix is cut into its blocks: each level's block is applied at the level's own resolution, the position block once
per distinct relative coordinate, and all that is left to do at a query is one sum. The answer is the same number; the
work is a fraction.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from featalign.align.encoding import Encoding, Frequencies, PositionEncoding
from featalign.errors import ConfigError, did_you_mean
from featalign.layers import BatchNorm2d
from featalign.ops import Queries, gather_sum, grid_queries, point_queries

Resample = Literal["nearest", "bilinear"]
BAND_BYTES = 256 << 20  # hidden activations held at a time when no gradient is wanted


class ImplicitFunction(nn.Module):
    """Levels (B, C_i, h_i, w_i), finest first, to answers at the cells of any grid or at any points.

    With ``encoding="none"`` this is the decoder of IFA Table 1's plain siblings: ``resample`` tells which.

    Args:
        level_channels: channels of each level.
        out_channels: channels of the answer: the number of classes.
        hidden: widths of the MLP's hidden layers; the published configuration has (512, 256, 256).
        encoding, dims, frequencies, octaves: see :class:`~featalign.align.encoding.PositionEncoding`; one code per
            level.
        resample: ``nearest`` takes each level's nearest latent code (Eq. 1); ``bilinear`` blends the four nearest,
            each with its own relative coordinate, before the first non-linearity, which makes the answer continuous.
    """

    def __init__(
        self,
        level_channels: Sequence[int],
        out_channels: int,
        *,
        hidden: Sequence[int] = (512, 256, 256),
        encoding: Encoding = "learned",
        dims: int = 24,
        frequencies: Frequencies = "published",
        octaves: float = 6.0,
        resample: Resample = "nearest",
    ) -> None:
        super().__init__()
        if resample not in get_args(Resample):
            raise ConfigError(f'unknown resampling "{resample}": {did_you_mean(resample, get_args(Resample))}')
        if not hidden or min(*hidden, *level_channels, out_channels) < 1:
            raise ConfigError(f"widths must be positive, got hidden={tuple(hidden)} for levels {tuple(level_channels)}")
        self.level_channels = tuple(level_channels)
        self.hidden = tuple(hidden)
        self.blend = resample == "bilinear"
        codes = [
            PositionEncoding(encoding, dims=dims, frequencies=frequencies, octaves=octaves) for _ in level_channels
        ]
        # The first layer in blocks. Weights of a blend sum to 1, so its bias may ride on the finest level's block.
        content = [nn.Conv2d(channels, hidden[0], 1, bias=i == 0) for i, channels in enumerate(level_channels)]
        code_channels = sum(code.channels for code in codes)
        self.codes = nn.ModuleList(codes)
        self.content = nn.ModuleList(content)
        self.position = nn.Linear(code_channels, hidden[0], bias=False) if code_channels else None
        _draw_as_one_layer([*content, *([self.position] if self.position else [])])
        layers: list[nn.Module] = [BatchNorm2d(hidden[0]), nn.ReLU(inplace=True)]
        for width, next_width in itertools.pairwise(hidden):
            layers += [nn.Conv2d(width, next_width, 1), BatchNorm2d(next_width), nn.ReLU(inplace=True)]
        self.mlp = nn.Sequential(*layers, nn.Conv2d(hidden[-1], out_channels, 1))

    @property
    def seamless(self) -> bool:
        """Whether it has position codes and no seams: then asking every pixel beats resizing (docs/resolution.md)."""
        return self.blend and self.position is not None

    def forward(self, levels: Sequence[Tensor], size: tuple[int, int] | None = None) -> Tensor:
        """Answers at the pixel centres of a grid of ``size`` (default the finest level's): ``(B, K, *size)``.

        Without gradients the grid is answered in bands of rows: beyond the answer, memory does not grow with ``size``.
        """
        height, width = size or _shape(levels[0])
        products = self._products(levels, height * width)
        step = height if torch.is_grad_enabled() else self._rows_per_band(levels[0], width)
        bands = []
        for start in range(0, height, step):
            band = range(start, min(start + step, height))
            queries = grid_queries(
                (height, width),
                [_shape(level) for level in levels],
                blend=self.blend,
                band=band,
                device=levels[0].device,
                dtype=_coordinate_dtype(levels[0]),
            )
            bands.append(self._answer(levels, products, queries, (len(band), width)))
        return bands[0] if len(bands) == 1 else torch.cat(bands, 2)

    def at(self, levels: Sequence[Tensor], points: Tensor) -> Tensor:
        """Answers at ``points`` (B or 1, …, 2), (x, y) in [0, 1]: (B, out_channels, …)."""
        flat = points.flatten(1, -2).to(_coordinate_dtype(levels[0]))
        queries = point_queries(flat, [_shape(level) for level in levels], blend=self.blend)
        products = self._products(levels, flat.shape[1])
        answers = self._answer(levels, products, queries, (flat.shape[1], 1))
        return answers.reshape(*answers.shape[:2], *points.shape[1:-1])

    def _products(self, levels: Sequence[Tensor], queries: int) -> list[Tensor | None]:
        """Each level's part of the first layer on its own grid; None where it has more cells than there are queries."""
        return [
            block(level.contiguous(memory_format=torch.channels_last)) if math.prod(_shape(level)) <= queries else None
            for block, level in zip(self.content, levels, strict=True)
        ]

    def _answer(
        self, levels: Sequence[Tensor], products: Sequence[Tensor | None], queries: Queries, size: tuple[int, int]
    ) -> Tensor:
        """First layer at the queries as one sum, then the rest of the MLP: ``(B, K, *size)``."""
        early = [i for i, product in enumerate(products) if product is not None]
        tables = [_rows(product) for product in products if product is not None]
        cells = [queries.cells[i] for i in early]
        shares = [queries.shares[i] for i in early]
        if self.position is not None:
            tables.append(self._position_table(self.position, queries))
            cells.append(queries.phase)
            shares.append(torch.ones_like(queries.phase, dtype=queries.offsets[0].dtype))
        terms = [_as_image(gather_sum(tables, cells, shares if self.blend else None), size)] if tables else []
        for i, product in enumerate(products):
            if product is not None:
                continue
            # Fewer queries than cells: take the codes, then multiply.
            codes = gather_sum([_rows(levels[i])], [queries.cells[i]], [queries.shares[i]] if self.blend else None)
            terms.append(self.content[i](_as_image(codes, size)))
        return self.mlp(sum(terms[1:], start=terms[0]))

    def _position_table(self, block: nn.Linear, queries: Queries) -> Tensor:
        """The position block's part of the first layer at every distinct relative coordinate: (B or 1, P, hidden)."""
        codes = [
            (code(offset) * share[..., None]).sum(-2)
            for code, offset, share in zip(self.codes, queries.offsets, queries.offset_shares, strict=True)
        ]
        return block(torch.cat(codes, -1).to(block.weight.dtype))

    def _rows_per_band(self, like: Tensor, width: int) -> int:
        row_bytes = like.shape[0] * width * self.hidden[0] * like.element_size()
        return max(1, BAND_BYTES // row_bytes)


def _draw_as_one_layer(blocks: Sequence[nn.Conv2d | nn.Linear]) -> None:
    """Blocks start as one layer over the concatenation of their inputs would: by the sum of their fan-ins."""
    bound = 1 / math.sqrt(sum(block.weight.shape[1] for block in blocks))
    for block in blocks:
        for parameter in block.parameters():
            nn.init.uniform_(parameter, -bound, bound)


def _shape(level: Tensor) -> tuple[int, int]:
    return level.shape[-2], level.shape[-1]


def _coordinate_dtype(level: Tensor) -> torch.dtype:
    """Coordinates are never rounded to half precision: neighbouring queries would fall together."""
    return torch.float64 if level.dtype == torch.float64 else torch.float32


def _rows(level: Tensor) -> Tensor:
    """(B, C, h, w) to (B, h * w, C); no copy when the level is channels-last."""
    return level.permute(0, 2, 3, 1).flatten(1, 2)


def _as_image(rows: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, h * w, C) to (B, C, h, w), channels last, no copy."""
    return rows.unflatten(1, size).permute(0, 3, 1, 2)
