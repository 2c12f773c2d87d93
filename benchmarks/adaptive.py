"""What adaptive decoding costs and what it gives, over its dial.

    python benchmarks/adaptive.py runs/first --data camvid --split test --images 30 --json adaptive.json

Per value of ``effort``: the labels equal to those of the dense decode, the mIoU of both, and the process time of the
whole network (encode included) relative to the stride-4 decode with resized logits, all on one thread, the calls in
turn on every image, medians over the images.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import featalign
from featalign.data import normalize, open_dataset
from featalign.metrics import ConfusionMatrix, scores
from featalign.models import Segmentor

EFFORTS = (0.0, 0.02, 0.05, 0.075, 0.1, 0.15, 0.2)


def timed(call: Callable[[], Tensor]) -> tuple[Tensor, float]:
    start = time.process_time()
    return call(), time.process_time() - start


def measure(model: Segmentor, samples: Any, count: int) -> list[dict[str, float]]:
    """A row per effort, and one for the dense decode."""
    names = ["resized", "dense", *(f"adaptive {effort}" for effort in EFFORTS)]
    ignore = samples.classes.ignore_index
    matrices = {name: ConfusionMatrix(len(model.classes), ignore) for name in names}
    equal: dict[str, list[float]] = {name: [] for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    step = max(1, len(samples) // count)
    for index in range(0, len(samples), step)[:count]:
        sample = samples[index]
        target = torch.as_tensor(sample["mask"])
        images = normalize(torch.as_tensor(sample["image"])[None], model.normalization)
        size = (target.shape[-2], target.shape[-1])
        with torch.inference_mode():
            answers = {name: timed(partial(answer, model, images, size, name)) for name in names}
        for name, (labels, spent) in answers.items():
            matrices[name].update(labels[0], target)
            equal[name].append((labels == answers["dense"][0]).float().mean().item())
            seconds[name].append(spent)
    base, dense = statistics.median(seconds["resized"]), scores(matrices["dense"].matrix).miou
    return [
        {
            "call": name,
            "equal": statistics.mean(equal[name]),
            "least_equal": min(equal[name]),
            "miou": scores(matrices[name].matrix).miou,
            "miou_minus_dense": scores(matrices[name].matrix).miou - dense,
            "time": statistics.median(seconds[name]) / base,
        }
        for name in names
    ]


def answer(model: Segmentor, images: Tensor, size: tuple[int, int], name: str) -> Tensor:
    """Labels (1, h, w); for the stride-4 decode by way of its resized logits."""
    mode, _, effort = name.partition(" ")
    features = model.encode(images)
    if mode == "resized":
        return model.decode(features, size, "resized").argmax(1)
    if mode == "dense":
        return model.labels(features, size, "dense")
    return model.labels(features, size, "adaptive", effort=float(effort))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a training run or model folder")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(featalign.load(options.model), open_dataset(options.data, options.split), options.images)
    print("| call | labels equal to dense | on the worst image | mIoU | minus dense | time |\n|" + "---|" * 6)
    for row in rows:
        print(
            f"| {row['call']} | {100 * row['equal']:.2f} % | {100 * row['least_equal']:.2f} % "
            f"| {100 * row['miou']:.2f} | {100 * row['miou_minus_dense']:+.2f} | {row['time']:.2f} |"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
