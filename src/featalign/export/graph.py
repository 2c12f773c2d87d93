"""A network as one function of pixels, and that function as a program of torch.export.

    images (B, C, H, W) pixels ──normalize──▶ network ──▶ logits (B, K, h, w), float32
    size (2,) int64: (h, w) ─────────────────────┘

Pixels are as files have them, 0 … 255 (uint8) or 0 … 65535 (int32): the normalization is in the graph, so nobody
outside can get it wrong. A graph of one fixed size has no input ``size``: it takes one image and answers at its size.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from featalign.export.metadata import ExportInfo, Size
from featalign.export.same_padding import make_traceable
from featalign.models import Segmentor
from featalign.models.network import Mode

_EXAMPLE: Size = (96, 160)  # of the image that dynamic sizes are traced with
_ANSWER: Size = (90, 170)
_LEAST = 2  # rows and columns of an answer: a resize that puts corners on corners divides by one less


class ExportGraph(nn.Module):
    """See the figure above. ``half``: weights and maps in half precision; positions and the answer stay in float32."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Segmentor, *, mode: Mode, half: bool, size: Size | None) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu().eval().requires_grad_(False)
        make_traceable(self.model)
        self.mode = mode
        self.half_precision = half
        self.size = size
        if half:
            self.model.half()
        scale = model.normalization.scale
        for name in ("mean", "std"):
            value = torch.tensor(getattr(model.normalization, name), dtype=torch.float32)
            self.register_buffer(name, scale * value[:, None, None], persistent=False)

    def forward(self, images: Tensor, size: Tensor | None = None) -> Tensor:
        normalized = (images.float() - self.mean) / self.std
        features = self.model.encode(normalized.half() if self.half_precision else normalized)
        return self.model.decode(features, self.size if size is None else _as_size(size), self.mode).float()


def trace(graph: ExportGraph, info: ExportInfo) -> ExportedProgram:
    """The program of a graph, for images of one size or of any. Raises what torch.export raises."""
    pixels = getattr(torch, info.pixels)
    example: tuple[Tensor, ...]
    dynamic: dict[str, Any] | None
    if info.size is None:
        example = torch.zeros(2, info.in_channels, *_EXAMPLE, dtype=pixels), torch.tensor(_ANSWER)
        dynamic = {"images": dict.fromkeys((0, 2, 3), Dim.DYNAMIC), "size": None}
    else:
        example, dynamic = (torch.zeros(1, info.in_channels, *info.size, dtype=pixels),), None
    with torch.no_grad():
        return torch.export.export(
            graph, example, dynamic_shapes=dynamic, prefer_deferred_runtime_asserts_over_guards=True
        )


def _as_size(size: Tensor) -> Size:
    height, width = size.tolist()
    for side in (height, width):
        torch._check(side >= _LEAST)
    return height, width
