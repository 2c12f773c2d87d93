"""The implicit function in its rewritten form against the paper's: gather, concatenate, multiply at every query.

    python benchmarks/decoder.py --size 1024 --precision fp32 --json decoder.json

One thread, process time, the two forms in turn, medians; only ratios mean anything. Memory: bytes of tensors alive at
once, levels not counted. The allocator matters: the
documentation's figures were taken with MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from held import Held
from torch import Tensor
from turns import in_turn

from featalign.align import ImplicitFunction
from featalign.ops import grid_taps, pixel_axis


def concatenated(function: ImplicitFunction, levels: list[Tensor], size: tuple[int, int]) -> Tensor:
    """The paper's form (Eq. 4), with resampling by torch: nearest codes and position codes at every query."""
    height, width = size
    inputs = []
    for level, encode in zip(levels, function.codes, strict=True):
        rows, columns = grid_taps(pixel_axis(height), level.shape[-2]), grid_taps(pixel_axis(width), level.shape[-1])
        offsets = torch.stack(
            torch.broadcast_tensors(rows.offset, columns.offset.T), -1
        )  # (H, W, 2), the same for every image
        codes = encode(offsets).permute(2, 0, 1).expand(level.shape[0], -1, -1, -1)
        inputs += [codes, F.interpolate(level, size=size, mode="nearest-exact")]
    blocks = function.position.weight.split([code.channels for code in function.codes], 1)
    weight = [
        part
        for block, conv in zip(blocks, function.content, strict=True)
        for part in (block[..., None, None], conv.weight)
    ]
    return function.mlp(F.conv2d(torch.cat(inputs, 1), torch.cat(weight, 1), function.content[0].bias))


def compare(size: int, *, grid_extra: int, precision: str, backward: bool, runs: int) -> dict[str, float]:
    """Median process seconds and peak bytes of both forms, and how many times less ours needs."""
    torch.manual_seed(0)
    sides = [size // stride + grid_extra for stride in (4, 8, 16, 32)]
    function = ImplicitFunction([256] * 4, 19).train(backward)
    levels = [
        torch.randn(1, 256, side, side).contiguous(memory_format=torch.channels_last).requires_grad_(backward)
        for side in sides
    ]
    forms: dict[str, Callable[[], Tensor]] = {
        "paper": lambda: concatenated(function, levels, (sides[0], sides[0])),
        "featalign": lambda: function(levels),
    }
    peak: dict[str, int] = {}
    cast = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()
    with cast, torch.set_grad_enabled(backward):
        difference = (forms["paper"]() - forms["featalign"]()).abs().max().item()
        for name, form in forms.items():
            with Held() as held:
                run(form, backward)
            peak[name] = held.peak
        medians = in_turn({name: partial(run, form, backward) for name, form in forms.items()}, runs)
    return {
        **{f"{name}_seconds": value for name, value in medians.items()},
        **{f"{name}_bytes": value for name, value in peak.items()},
        "times_faster": medians["paper"] / medians["featalign"],
        "times_less_memory": peak["paper"] / peak["featalign"],
        "difference": difference,
    }


def run(form: Callable[[], Tensor], backward: bool) -> None:
    answer = form()
    if backward:
        answer.float().sum().backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="side of the image")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    print("| | time | memory | largest difference |\n|---|---|---|---|")
    for grids, extra in (("nested", 0), ("general", 1)):
        for backward in (False, True):
            name = f"{grids} grids, {'forward + backward' if backward else 'forward'}, {options.precision}"
            found = compare(
                options.size, grid_extra=extra, precision=options.precision, backward=backward, runs=options.runs
            )
            results[name] = found
            print(
                f"| {name} | {found['times_faster']:.2f} x faster | {found['paper_bytes'] / 2**20:.0f} to "
                f"{found['featalign_bytes'] / 2**20:.0f} MB | {found['difference']:.1e} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
