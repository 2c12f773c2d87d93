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

from featalign.align.budget import Budget
from featalign.align.encoding import Encoding, Frequencies, PositionEncoding
from featalign.align.folded import fold, foldable
from featalign.align.streaming import Stream, compute_dtype, position_codes
from featalign.errors import ConfigError, check_count, check_counts, did_you_mean
from featalign.layers import BatchNorm2d, Conv2d, without_autocast
from featalign.ops import (
    Box,
    PixelAxis,
    Queries,
    answers_at,
    coordinate_dtype,
    gather_sum,
    grid_queries,
    nearest,
    pixel_axes,
    point_queries,
    resize_at_once,
    resize_coarse,
)

Resample = Literal["nearest", "bilinear"]


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
        check_counts(hidden=hidden, level_channels=level_channels)
        check_count(out_channels=out_channels)
        self.level_channels = tuple(level_channels)
        self.hidden = tuple(hidden)
        self.blend = resample == "bilinear"
        codes = [
            PositionEncoding(encoding, dims=dims, frequencies=frequencies, octaves=octaves) for _ in level_channels
        ]
        # The first layer in blocks. Weights of a blend sum to 1, so its bias may ride on the finest level's block.
        content = [Conv2d(channels, hidden[0], 1, bias=i == 0) for i, channels in enumerate(level_channels)]
        code_channels = sum(code.channels for code in codes)
        self.codes = nn.ModuleList(codes)
        self.content = nn.ModuleList(content)
        self.position = nn.Linear(code_channels, hidden[0], bias=False) if code_channels else None
        _draw_as_one_layer([*content, *([self.position] if self.position else [])])
        layers: list[nn.Module] = [BatchNorm2d(hidden[0]), nn.ReLU(inplace=True)]
        for width, next_width in itertools.pairwise(hidden):
            layers += [Conv2d(width, next_width, 1), BatchNorm2d(next_width), nn.ReLU(inplace=True)]
        self.mlp = nn.Sequential(*layers, Conv2d(hidden[-1], out_channels, 1))

    @property
    def seamless(self) -> bool:
        """Whether it has position codes and no seams: then asking every pixel beats resizing (docs/resolution.md)."""
        return self.blend and self.position is not None

    def forward(
        self,
        levels: Sequence[Tensor],
        size: tuple[int, int] | None = None,
        *,
        box: Box | None = None,
        axes: tuple[PixelAxis, PixelAxis] | None = None,
        max_memory: int | None = None,
    ) -> Tensor:
        """Answers at the pixel centres of a grid of ``size`` (default the finest level's) over ``box``.

        In evaluation without gradients the grid is answered in tiles: beyond the answer, memory does not grow with it.

        Args:
            levels: of the whole image.
            size: (height, width) of the answer.
            box: (left, top, right, bottom) in [0, 1]; default the whole image.
            axes: rows and columns of the grid, in place of ``size`` and ``box``.
            max_memory: bytes that may be held besides levels and answer; default half of what is free.

        Returns:
            ``(B, K, *size)``, channels last.

        Raises:
            ValueError: for other levels than it was built for.
        """
        self._check(levels)
        rows, columns = axes or pixel_axes(_shape(levels[0]) if size is None else size, box)
        if self._in_one(levels):
            return self._whole(levels, rows, columns)
        return self.stream(levels, max_memory=max_memory).grid(rows, columns)

    def at(self, levels: Sequence[Tensor], points: Tensor, *, max_memory: int | None = None) -> Tensor:
        """Answers at ``points`` (B or 1, …, 2), (x, y) in [0, 1]: (B, K, …); memory as in :meth:`forward`.

        Raises:
            ValueError: for other levels than it was built for; for points of another shape, or (looked at on the CPU
                alone) not finite.
        """
        self._check(levels)

        def ask(flat: Tensor) -> Tensor:
            flat = flat.to(coordinate_dtype(levels[0]))
            if not self._in_one(levels):
                return self.stream(levels, max_memory=max_memory).points(flat)
            queries = point_queries(flat, [_shape(level) for level in levels], blend=self.blend)
            return self._answer(levels, queries, (flat.shape[1], 1)).flatten(2)

        return answers_at(points, levels[0].shape[0], ask)

    def stream(self, levels: Sequence[Tensor], *, max_memory: int | Budget | None = None) -> Stream:
        """The answers to ``levels`` as in evaluation, piece by piece; without gradients, for a :attr:`foldable` one."""
        with torch.no_grad(), without_autocast(levels[0].device.type):
            folded = fold(self.content, self.position, self.mlp, compute_dtype(levels[0]))
        return Stream(folded, self.codes, levels, blend=self.blend, max_memory=max_memory)

    @property
    def foldable(self) -> bool:
        """Whether :meth:`stream` answers as the modules do: they are as they were built, and nobody listens to them."""
        listened = any(one._forward_hooks or one._forward_pre_hooks for one in (self, self.mlp))
        return not listened and foldable(self.content, self.position, self.mlp)

    def _check(self, levels: Sequence[Tensor]) -> None:
        """Refuse levels of other channels, or not of the same images. Raises ValueError."""
        if torch.compiler.is_compiling():
            return
        fits = [level.ndim == 4 and level.shape[0] == levels[0].shape[0] for level in levels]
        if not all(fits) or tuple(level.shape[1] for level in levels) != self.level_channels:
            shapes = [tuple(level.shape) for level in levels]
            raise ValueError(f"expected levels (B, C, h, w) of {self.level_channels} channels, one batch; got {shapes}")

    def _in_one(self, levels: Sequence[Tensor]) -> bool:
        """Whether all queries are answered at once by the modules themselves: where gradients or the statistics of the
        batch are wanted, a program is traced, only shapes are run, there is no image, or the modules are not to be
        folded."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling() or levels[0].is_meta:
            return True
        return levels[0].shape[0] == 0 or not self.foldable

    def _whole(self, levels: Sequence[Tensor], rows: PixelAxis, columns: PixelAxis) -> Tensor:
        queries = grid_queries(
            rows,
            columns,
            [_shape(level) for level in levels],
            blend=self.blend,
            device=levels[0].device,
            dtype=coordinate_dtype(levels[0]),
        )
        if torch.compiler.is_exporting():
            return self._exported(levels, queries, rows, columns)
        return self._answer(levels, queries, (rows.length, columns.length))

    def _exported(self, levels: Sequence[Tensor], queries: Queries, rows: PixelAxis, columns: PixelAxis) -> Tensor:
        """:meth:`_answer` for a whole image in a program that is exported: runtimes resize maps faster than they
        gather rows of tables. There every query has a relative coordinate of its own, see
        :func:`~featalign.ops.queries.phases`.
        """
        size = rows.length, columns.length
        finest, *coarser = (block(level) for block, level in zip(self.content, levels, strict=True))
        if self.blend:
            terms = [resize_at_once(finest, rows, columns), *(resize_coarse(one, rows, columns) for one in coarser)]
        else:
            terms = [nearest(one, rows, columns) for one in (finest, *coarser)]
        if self.position is not None:
            codes = position_codes(self.codes, queries).to(self.position.weight.dtype)
            terms.append(_as_image(self.position(codes), size))
        return self.mlp(sum(terms[1:], start=terms[0]))

    def _answer(self, levels: Sequence[Tensor], queries: Queries, size: tuple[int, int]) -> Tensor:
        """First layer at the queries as one sum, then the rest of the MLP: ``(B, K, *size)``."""
        products = self._products(levels, queries.phase.shape[1])
        early = [i for i, product in enumerate(products) if product is not None]
        tables = [_rows(product) for product in products if product is not None]
        cells = [queries.cells[i] for i in early]
        shares = [queries.shares[i] for i in early]
        if self.position is not None:
            tables.append(self._position_table(self.position, queries, alone=math.prod(size) * levels[0].shape[0] == 1))
            cells.append(queries.phase)
            shares.append(torch.ones_like(queries.phase, dtype=queries.offsets[0].dtype))
        terms = [_as_image(gather_sum(tables, cells, shares if self.blend else None), size)] if tables else []
        for i, product in enumerate(products):
            if product is None:
                codes = gather_sum([_rows(levels[i])], [queries.cells[i]], [queries.shares[i]] if self.blend else None)
                terms.append(self.content[i](_as_image(codes, size)))
        return self.mlp(sum(terms[1:], start=terms[0]))

    def _position_table(self, position: nn.Linear, queries: Queries, *, alone: bool) -> Tensor:
        """The first layer's part of the position at every distinct relative coordinate; ``alone``: of a single query.

        What is the same at all queries the norm takes out again, so its gradient is 0; computed, it is rounding noise,
        most of all under autocast, and Adam takes full steps along noise. On the grid of training many codes are
        constant, and their weights would drift to where other positions are answered wrongly (docs/resolution.md).
        Therefore nothing is learnt from the mean code.
        """
        codes = position_codes(self.codes, queries).to(position.weight.dtype)
        norm = self.mlp[0]
        centred = isinstance(norm, nn.BatchNorm2d) and norm.training  # SyncBatchNorm has that 0 over all processes only
        if alone or not centred:
            return position(codes)
        mean = codes.mean((0, 1), keepdim=True)
        return position(codes - mean) + position(mean).detach()

    def _products(self, levels: Sequence[Tensor], queries: int) -> list[Tensor | None]:
        """Each level's part of the first layer on its own grid; None where it has more cells than there are queries,
        so that taking the codes first and multiplying after is less work."""
        exporting = torch.compiler.is_exporting()  # then sizes may be symbols, and the question would freeze them
        return [
            block(level.contiguous(memory_format=torch.channels_last))
            if exporting or math.prod(_shape(level)) <= queries
            else None
            for block, level in zip(self.content, levels, strict=True)
        ]


def _draw_as_one_layer(blocks: Sequence[nn.Conv2d | nn.Linear]) -> None:
    """Blocks start as one layer over the concatenation of their inputs would: by the sum of their fan-ins."""
    bound = 1 / math.sqrt(sum(block.weight.shape[1] for block in blocks))
    for block in blocks:
        for parameter in block.parameters():
            nn.init.uniform_(parameter, -bound, bound)


def _shape(level: Tensor) -> tuple[int, int]:
    return level.shape[-2], level.shape[-1]


def _rows(level: Tensor) -> Tensor:
    """(B, C, h, w) to (B, h * w, C); no copy when the level is channels-last."""
    return level.permute(0, 2, 3, 1).flatten(1, 2)


def _as_image(rows: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, h * w, C) to (B, C, h, w), channels last, no copy."""
    return rows.unflatten(1, size).permute(0, 3, 1, 2)
