"""Products along the channels, by the faster of the two libraries that torch has for them on a CPU.

torch multiplies matrices by MKL, and 1x1 convolutions too where there is one thread and few images; all other
convolutions by oneDNN. On AMD's processors MKL is the slower one, least on Zen 3 and by more than half on Zen 5, whose
AVX-512 it leaves alone: there these products are convolutions of oneDNN, forward and backward. Only in single precision
and in eager mode: exported programs, half and double precision keep torch's own choice.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

_FEWEST = 128  # rows; below it a convolution's own cost shows
_DILATION = 2  # changes nothing of a 1x1 kernel, but torch gives convolutions that have one to oneDNN


def product(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """(N, C) times (C, K), plus a bias (K): (N, K)."""
    if len(rows) >= _FEWEST and _by_onednn(rows):
        line = rows.contiguous()[None, None].permute(0, 3, 1, 2)  # one image (1, C, 1, N), channels last
        result = F.conv2d(line, matrix.T[:, :, None, None], bias, dilation=_DILATION)
        return result.permute(0, 2, 3, 1).reshape(len(rows), -1)
    return rows @ matrix if bias is None else torch.addmm(bias, rows, matrix)


def pointwise(maps: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 1x1 convolution: (B, C, h, w) and (K, C, 1, 1), plus a bias (K), to (B, K, h, w)."""
    apart = _by_onednn(maps) and maps.shape[-2] * maps.shape[-1] >= _FEWEST
    return F.conv2d(maps, weight, bias, dilation=_DILATION if apart else 1)


def _by_onednn(values: Tensor) -> bool:
    return (
        type(values) is Tensor  # none of those that stand for a value while a program is traced
        and values.dtype == torch.float32
        and values.numel() > 0
        and values.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        and _mkl_is_slow()
        and bool(torch.backends.mkldnn.enabled)
    )


@cache
def _mkl_is_slow() -> bool:
    """Whether torch has both libraries and the processor is AMD's. Linux says; elsewhere nobody is asked."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
