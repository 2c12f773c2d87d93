"""Whole networks beside those of segmentation_models.pytorch and torchvision, and how ours grow.

    python benchmarks/networks.py benchmarks/results/networks.jsonl                       # what is not there yet
    python benchmarks/networks.py benchmarks/results/networks.jsonl peers/resnet18/512x1024   # these groups
    python benchmarks/networks.py benchmarks/results/networks.jsonl --markdown docs/benchmarks.md

Every line is one network beside the base of its group, asked in turn in the same process: one thread, process time,
medians, ratios only; on a GPU, times between synchronizations. Weights are random. MALLOC_MMAP_MAX_=0
MALLOC_TRIM_THRESHOLD_=100000000000 keeps glibc from giving large blocks back between calls, for both sides alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import peers
import torch
import torchvision
from held import Held
from torch import Tensor, nn

from featalign.models import create_model

TURNS = 5
MARKS = "<!-- networks: begin -->", "<!-- networks: end -->"
BACKBONES, SIZES = ("resnet18", "resnet50"), ((512, 1024), (1024, 2048))

IFA = {"name": "fpn", "align": "ifa", "width": 64}
NETWORKS: dict[str, dict[str, Any]] = {
    "IFA, width 64": IFA,
    "IFA, width 256": {**IFA, "width": 256},
    "IFA, width 64, blended codes, every pixel asked": {**IFA, "blend": "bilinear"},
    "bilinear sibling, width 64": {**IFA, "align": "bilinear"},
    "FaPN, real time": {"name": "fapn_realtime"},
    "FaPN": {"name": "fapn"},
    "AlignSeg": {"name": "alignseg"},
    "SMP FPN": {"name": "smp_fpn"},
    "SMP DeepLabV3+": {"name": "smp_deeplabv3plus"},
    "SMP UPerNet": {"name": "smp_upernet"},
    "SMP SegFormer": {"name": "smp_segformer"},
}
TORCHVISION: dict[str, Callable[..., nn.Module]] = {
    "torchvision DeepLabV3": torchvision.models.segmentation.deeplabv3_resnet50,
    "torchvision LR-ASPP (MobileNetV3)": torchvision.models.segmentation.lraspp_mobilenet_v3_large,
}
BASE = "SMP FPN"


@dataclass(frozen=True)
class Case:
    """One way to ask one network."""

    group: str
    label: str
    network: dict[str, Any]
    image: tuple[int, int] = (512, 1024)
    batch: int = 1
    precision: str = "fp32"
    ask: dict[str, Any] = field(default_factory=dict)
    training: bool = False


def cases() -> Iterator[tuple[Case, Case]]:
    """Each case with the base of its group."""
    for backbone in BACKBONES:
        for size in SIZES:
            yield from _peers(backbone, size, "fp32")
    yield from _peers("resnet18", (512, 1024), "bf16")
    yield from _growth()
    step = {"image": (320, 320), "batch": 8, "training": True}
    base = Case("training step", BASE, {**NETWORKS[BASE], "backbone": "resnet18"}, **step)
    for label in ("IFA, width 64", "IFA, width 256", "FaPN", "AlignSeg", "SMP DeepLabV3+"):
        yield Case("training step", label, {**NETWORKS[label], "backbone": "resnet18"}, **step), base


def _peers(backbone: str, size: tuple[int, int], precision: str) -> Iterator[tuple[Case, Case]]:
    group = f"peers/{backbone}/{size[0]}x{size[1]}" + ("" if precision == "fp32" else f"/{precision}")
    base = Case(group, BASE, {**NETWORKS[BASE], "backbone": backbone}, size, precision=precision)
    for label, network in NETWORKS.items():
        if label != BASE:
            yield Case(group, label, {**network, "backbone": backbone}, size, precision=precision), base
    if backbone == "resnet50":
        for label in TORCHVISION:
            yield Case(group, label, {"torchvision": label}, size, precision=precision), base


def _growth() -> Iterator[tuple[Case, Case]]:
    network = {**IFA, "blend": "bilinear", "backbone": "resnet18"}
    one = Case("growth", "512x1024, 19 classes, resized", network, ask={"mode": "resized"})
    for mode in ("dense", "adaptive"):
        yield Case("growth", f"512x1024, {mode}", network, ask={"mode": mode}), one
    for times in (2, 4):
        size = (512 * times, 1024 * times)
        for mode in ("resized", "dense", "adaptive"):
            label = f"answer {size[0]}x{size[1]}, {mode}"
            yield Case("growth", label, network, ask={"size": size, "mode": mode}), one
    yield Case("growth", "input 1024x2048, resized", network, image=(1024, 2048), ask={"mode": "resized"}), one
    yield Case("growth", "150 classes, resized", {**network, "classes": 150}, ask={"mode": "resized"}), one
    yield Case("growth", "150 classes, dense", {**network, "classes": 150}, ask={"mode": "dense"}), one
    yield Case("growth", "batch of 4, resized", network, batch=4, ask={"mode": "resized"}), one


def prepare(case: Case, device: str) -> Callable[[], object]:
    """What is to be timed."""
    torch.manual_seed(0)
    images = torch.randn(case.batch, 3, *case.image, device=device).contiguous(memory_format=torch.channels_last)
    network = _network(case.network).to(device).to(memory_format=torch.channels_last).train(case.training)
    half = torch.autocast(device, torch.bfloat16, enabled=case.precision == "bf16")

    def answer() -> object:
        with torch.inference_mode(), half:
            if "torchvision" in case.network:
                return network(images)["out"]
            features = network.encode(images)
            return network.labels(features, **case.ask) if case.ask else network.decode(features)

    def step() -> object:
        with half:
            features = network.encode(images)
            logits: Tensor = network.decode(features, mode="resized")
        logits.float().square().mean().backward()
        network.zero_grad(set_to_none=True)
        return None

    return step if case.training else answer


def _network(options: dict[str, Any]) -> nn.Module:
    if "torchvision" in options:
        return TORCHVISION[options["torchvision"]](weights=None, weights_backbone=None, num_classes=19)
    return create_model(**{"classes": 19, **options})


def measure(case: Case, base: Case, device: str) -> dict[str, Any]:
    """Time and memory of a case, relative to its base."""
    calls = [prepare(case, device), prepare(base, device)]
    seconds: list[list[float]] = [[], []]
    for _ in range(TURNS + 1):
        for call, spent in zip(calls, seconds, strict=True):
            spent.append(_timed(call, device))
    medians = [statistics.median(spent[1:]) for spent in seconds]
    return {
        "time": medians[0] / medians[1],
        "memory": _memory(calls[0], device),
        "base_memory": _memory(calls[1], device),
    }


def _timed(call: Callable[[], object], device: str) -> float:
    if device == "cpu":
        start = time.process_time()
        call()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _memory(call: Callable[[], object], device: str) -> int:
    """Bytes of tensors alive at once beyond weights and images."""
    if device == "cpu":
        with Held() as held:
            call()
        return held.peak
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return torch.cuda.max_memory_allocated() - before


def run(store: Path, groups: list[str], device: str) -> None:
    done = {(row["group"], row["label"], row["device"]) for row in stored(store)}
    for case, base in cases():
        if (case.group, case.label, device) in done or (groups and case.group not in groups):
            continue
        row = {"group": case.group, "label": case.label, "base": base.label, "device": device}
        row |= {**measure(case, base, device), "case": asdict(case), "torch": torch.__version__}
        store.parent.mkdir(exist_ok=True)
        with store.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{case.group}: {case.label} {row['time']:.2f} of {base.label}", flush=True)


def stored(store: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.read_text().splitlines()] if store.exists() else []


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table for every group and device."""
    groups = dict.fromkeys((row["group"], row["device"], row["base"]) for row in rows)
    return "\n\n".join(_table(rows, *key) for key in groups)


def _table(rows: list[dict[str, Any]], group: str, device: str, base: str) -> str:
    chosen = sorted(
        (row for row in rows if (row["group"], row["device"]) == (group, device)), key=lambda row: float(row["time"])
    )
    base_memory = statistics.median(row["base_memory"] for row in chosen)
    lines = [f"**{group}**, {device}; {base}: 1.00, {_mega(base_memory)}", "", "| | time | memory |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {row['label']} | {row['time']:.2f} | {_mega(row['memory'])} |" for row in chosen)])


def _mega(size: float) -> str:
    return f"{size / 1e6:.0f} MB"


def write_page(store: Path, page: Path) -> None:
    before, rest = page.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    page.write_text(f"{before}{MARKS[0]}\n{markdown(stored(store))}\n{MARKS[1]}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="JSON lines, appended to")
    parser.add_argument("groups", nargs="*")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--markdown", type=Path, metavar="PAGE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    peers.add()
    if options.markdown:
        return write_page(options.store, options.markdown)
    run(options.store, options.groups, options.device)


if __name__ == "__main__":
    main()
