"""Position encodings of the relative coordinate (IFA section 3.3, Eq. 2; Table 4)."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from featalign.errors import ConfigError, check_count, did_you_mean
from featalign.layers import without_autocast

Encoding = Literal["none", "coord", "sine", "cosine", "fixed", "learned"]
Frequencies = Literal["published", "paper"]
_OCTAVES = 16  # beyond, single precision has no phase to speak of


class PositionEncoding(nn.Module):
    """Relative coordinates (…, 2) in (row, column) order to codes (…, :attr:`channels`).

    Args:
        kind: row of IFA's Table 4. ``none``: nothing; ``coord``: the coordinates themselves; ``sine`` / ``cosine``:
            coordinates and one of the two functions; ``fixed``: coordinates and both; ``learned``: the same with
            frequencies that train, as a dense (functions, 2) matrix that starts axis by axis and may come to mix rows
            and columns.
        dims: size of the encoding without the two coordinates (the paper tries 12 … 72 and takes 24). A multiple of
            4, of 2 for ``sine`` and ``cosine``. Not used by ``none`` and ``coord``.
        frequencies: ``published`` (default) spaces n frequencies per axis evenly from 2^0 to 2^octaves, which is what
            the reported models were trained with; ``paper`` is Eq. 2 as printed, 2 e^l for l = 1 … n.
        octaves: range of the ``published`` frequencies, 0 to 16. With six, as published, an answer at every pixel has
            a fine pattern along borders; with three it has none (docs/resolution.md).

    Attributes:
        revealed: how much of the frequencies is let through, from 0 (none) over 0.5 (the lower half) to 1, which is
            all of them and the default; the last one in between fades in by half a cosine (Nerfies, ICCV 2021, Eq. 8).
            Training may raise it, see :func:`featalign.training.annealing.annealed`; it is no part of the weights.

    Raises:
        ConfigError: for an unknown kind or frequencies, a size that does not divide, or octaves out of range.
    """

    def __init__(
        self,
        kind: Encoding = "learned",
        *,
        dims: int = 24,
        frequencies: Frequencies = "published",
        octaves: float = 6.0,
    ) -> None:
        super().__init__()
        if kind not in get_args(Encoding):
            raise ConfigError(f'unknown position encoding "{kind}": {did_you_mean(kind, get_args(Encoding))}')
        known = get_args(Frequencies)
        if frequencies not in known:
            raise ConfigError(f'unknown frequencies "{frequencies}": {did_you_mean(frequencies, known)}')
        self.kind = kind
        self.revealed = 1.0
        self.functions = {"sine": 1, "cosine": 1, "fixed": 2, "learned": 2}.get(kind, 0)
        if not (isinstance(octaves, int | float) and 0 <= octaves <= _OCTAVES):
            raise ConfigError(f"octaves must be a number from 0 to {_OCTAVES}, got {octaves!r}")
        if self.functions:
            check_count(dims=dims)
            if dims % (2 * self.functions):
                raise ConfigError(f'dims must be a positive multiple of {2 * self.functions} for "{kind}", got {dims}')
        matrix = (
            _axis_frequencies(dims // (2 * self.functions), frequencies, octaves)
            if self.functions
            else torch.empty(0, 2)
        )
        if kind == "learned":
            self.frequencies = nn.Parameter(matrix)
        else:
            self.register_buffer("frequencies", matrix, persistent=False)

    @property
    def channels(self) -> int:
        """Length of one code."""
        return 0 if self.kind == "none" else 2 + self.functions * self.frequencies.shape[0]

    def forward(self, offsets: Tensor) -> Tensor:
        if self.kind == "none":
            return offsets[..., :0]
        if self.kind == "coord":
            return offsets
        with without_autocast(offsets.device.type):  # half precision tells phases apart to a quarter of a radian
            phase = offsets @ self.frequencies.to(offsets.dtype).T
        waves = {"sine": [phase.sin()], "cosine": [phase.cos()]}.get(self.kind) or [phase.sin(), phase.cos()]
        if self.revealed < 1:
            waves = [wave * self._shares(wave) for wave in waves]
        return torch.cat((offsets, *waves), -1)

    def _shares(self, like: Tensor) -> Tensor:
        """What is let through of each frequency, lowest first, for the row axis and then for the column axis."""
        per_axis = self.frequencies.shape[0] // 2
        order = torch.arange(per_axis, device=like.device, dtype=like.dtype)
        shares = (1 - torch.cos(math.pi * (self.revealed * per_axis - order).clamp(0, 1))) / 2
        return shares.repeat(2)

    def extra_repr(self) -> str:
        return f'"{self.kind}", channels={self.channels}'


def _axis_frequencies(count: int, kind: Frequencies, octaves: float) -> Tensor:
    """``count`` frequencies for the row coordinate, then the same for the column coordinate: (2 * count, 2)."""
    if kind == "published":
        values = 2.0 ** torch.linspace(0, octaves, count)
    else:
        values = 2.0 * torch.exp(torch.arange(1, count + 1, dtype=torch.float32))
    zeros = torch.zeros_like(values)
    return torch.cat((torch.stack((values, zeros), -1), torch.stack((zeros, values), -1)))
