"""Arithmetic of sizes in exported programs: written once, right for maps of sizes that tracing did not see."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from featalign.align.resample import UpsamplingModule, fit
from featalign.export.targets import target_named

SIDES = [(10, 9), (10, 10), (10, 11), (10, 20), (10, 5), (2, 3), (3, 7)]
"""Cells that there are and cells that are wanted: cut, as they are, and resized in either direction."""

STEPPED = [(have, want) for have, want in SIDES if want > 4]
"""Those with more than one cell at a quarter of the size: runtimes have ideas of their own where a single one is left,
which a network meets in images of at most 16 pixels a side."""


class Fit(nn.Module):
    """:func:`fit` after an enlargement by two, to the size of another map."""

    def forward(self, images: Tensor, size: Tensor) -> Tensor:
        return fit(images, (size.shape[-2], size.shape[-1]), scale=2)


class Upsample(nn.Module):
    """:class:`UpsamplingModule`, whose sizes between are rounded up."""

    def __init__(self) -> None:
        super().__init__()
        self.module = UpsamplingModule(2, convolutions=3).eval()

    def forward(self, images: Tensor, size: Tensor) -> Tensor:
        return self.module(images, (size.shape[-2], size.shape[-1]))


@pytest.mark.parametrize("to", ["torch", "onnx", "openvino"])
@pytest.mark.parametrize(("module", "sides"), [(Fit, SIDES), (Upsample, STEPPED)], ids=["fit", "upsample"])
@torch.no_grad()
def test_sizes_that_were_not_traced(tmp_path: Path, monkeypatch, module, sides, to):
    pytest.importorskip({"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}[to])
    torch.manual_seed(0)
    network, dynamic = module(), {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    example = torch.randn(1, 2, 6, 7), torch.randn(1, 2, 11, 13)
    program = torch.export.export(network, example, dynamic_shapes={"images": dynamic, "size": dynamic})
    run = written(program, to, tmp_path, monkeypatch)
    for (rows, height), (columns, width) in itertools.product(sides, sides):
        x, like = torch.randn(1, 2, rows, columns), torch.zeros(1, 2, height, width)
        torch.testing.assert_close(torch.from_numpy(run(x.numpy(), like.numpy())), network(x, like), rtol=0, atol=2e-5)


def written(program: torch.export.ExportedProgram, to: str, folder: Path, monkeypatch):
    """A program as a file of any kind, opened: the function of two arrays that it computes."""
    target, info = target_named(to), SimpleNamespace(size=None, precision="fp32", to_text=lambda: "{}")
    monkeypatch.setattr("featalign.export.metadata.ExportInfo.from_text", lambda *args, **kwargs: info)
    path = folder / f"model{target.suffix}"
    target.write(program, info, path)  # type: ignore[arg-type]
    return target.open(path).run
