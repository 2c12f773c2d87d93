"""Reading the golden fixtures: weights that are stored, or drawn anew by the rule in their meta.json."""

from __future__ import annotations

import hashlib
import json
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor


class Fixture:
    """One folder of vectors: ``meta`` (its meta.json), ``io`` (tensors in and out), ``weights`` (official names)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text())

    @cached_property
    def io(self) -> dict[str, Tensor]:
        return safetensors.torch.load_file(self.folder / "io.safetensors")

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        path = self.folder / "weights.safetensors"
        stored = safetensors.torch.load_file(path) if path.is_file() else {}
        entries = self.meta["weights"]["tensors"]
        base_seed = self.meta["weights"]["base_seed"]
        return {
            name: stored[name] if name in stored else draw(name, entry, base_seed) for name, entry in entries.items()
        }

    def compare(self, got: Tensor, key: str, *, ties: Tensor | None = None) -> None:
        """``got`` must equal ``io[key]`` within the tolerance of meta.json, but for pixels on exact ties."""
        tolerance = self.meta["tolerance"]
        expected = self.io[key]
        assert got.shape == expected.shape, f"{key}: {tuple(got.shape)} != {tuple(expected.shape)}"
        close = torch.isclose(got, expected, rtol=tolerance["rtol"], atol=tolerance["atol"])
        if ties is not None:
            close |= ties.bool().view_as(expected[0, 0]).expand_as(close)
        worst = (got - expected).abs()[~close]
        assert close.all(), f"{self.folder.name} {key}: {worst.numel()} values differ, by up to {worst.max():.3g}"


def draw(name: str, entry: dict[str, Any], base_seed: int) -> Tensor:
    """The tensor that meta.json's rule gives for ``name``."""
    if entry["kind"] == "const":
        return torch.full(entry["shape"], entry["value"], dtype=getattr(torch, entry["dtype"]))
    seed = (zlib.crc32(name.encode()) + 1000003 * base_seed) % 2**32
    uniform = np.random.RandomState(seed).random_sample(entry["shape"])
    values = (entry["lo"] + (entry["hi"] - entry["lo"]) * uniform).astype(np.float32)
    if entry.get("flip_every"):
        flat = values.reshape(-1)
        flat[entry["flip_every"] - 1 :: entry["flip_every"]] *= -1
    return torch.from_numpy(values)


def digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def fixtures(folder: Path, prefix: str) -> list[Fixture]:
    """Every fixture whose folder name begins with ``prefix``."""
    return [Fixture(path) for path in sorted(folder.iterdir()) if path.name.startswith(prefix)]
