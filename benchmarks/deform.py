"""Deformable convolution without a compiled kernel against torchvision's operator, on the CPU.

    python benchmarks/deform.py --json deform.json

3x3 taps, as many output as input channels, offsets of about a cell. One thread, process time, the two in turn, medians;
only ratios mean anything. The documentation's figures were taken with
MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torchvision.ops import deform_conv2d
from turns import in_turn

from featalign.ops import deform_conv

GROUPS = 8  # that share their offsets, as in FaPN
CASES = [(cells, channels) for cells in ((64, 128), (128, 256)) for channels in (128, 256)]


def compare(cells: tuple[int, int], channels: int, *, backward: bool, runs: int) -> dict[str, float]:
    """How many times faster ours is, and the largest difference of outputs.

    Gradients are compared by the tests, in double precision: in single precision that of an offset jumps where rounding
    puts a tap on the other side of a cell's centre, at one or two of a million offsets.
    """
    torch.manual_seed(0)
    inputs = [
        torch.randn(1, channels, *cells),
        torch.randn(1, 2 * 9 * GROUPS, *cells),
        torch.rand(1, 9 * GROUPS, *cells),
        torch.randn(channels, channels, 3, 3) / (3 * channels**0.5),
    ]
    for values in inputs:
        values.requires_grad_(backward)

    def torchvision(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
        return deform_conv2d(x, offset, weight, padding=1, mask=mask)

    forms: dict[str, Callable[..., Tensor]] = {
        "torchvision": torchvision,
        "featalign": partial(deform_conv, groups=GROUPS, padding=1),
    }

    def answer(form: Callable[..., Tensor]) -> list[Tensor]:
        output = form(*inputs)
        return [output, *torch.autograd.grad(output.sum(), inputs)] if backward else [output]

    with torch.set_grad_enabled(backward):
        one, two = (answer(form)[0] for form in forms.values())
        seconds = in_turn({name: partial(answer, form) for name, form in forms.items()}, runs)
    return {
        **{f"{name}_seconds": value for name, value in seconds.items()},
        "times_faster": seconds["torchvision"] / seconds["featalign"],
        "difference": ((one - two).abs().max() / one.abs().max()).item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    print("| map | forward | forward + backward | largest difference of outputs, relative |\n|---|---|---|---|")
    for cells, channels in CASES:
        name = f"{cells[0]}x{cells[1]}, {channels} channels"
        one, two = (compare(cells, channels, backward=backward, runs=options.runs) for backward in (False, True))
        results[name] = {"forward": one, "forward + backward": two}
        print(
            f"| {name} | {one['times_faster']:.2f} x faster | {two['times_faster']:.2f} x faster | "
            f"{max(one['difference'], two['difference']):.1e} |",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
