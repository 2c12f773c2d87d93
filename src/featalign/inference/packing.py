"""Counts in JSON: short, and exactly as they were."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def packed(counts: Counts) -> dict[str, Any]:
    """Shape, and the values as little-endian int64, deflated, in base 64."""
    content = zlib.compress(np.ascontiguousarray(counts, dtype="<i8").tobytes())
    return {"shape": list(counts.shape), "int64_zlib_base64": base64.b64encode(content).decode("ascii")}


def unpacked(content: Mapping[str, Any]) -> Counts:
    """What :func:`packed` was given. Raises KeyError, TypeError, ValueError or zlib.error for anything else."""
    values = np.frombuffer(zlib.decompress(base64.b64decode(content["int64_zlib_base64"])), dtype="<i8")
    return values.reshape(content["shape"]).astype(np.int64)
