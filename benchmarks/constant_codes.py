"""What Adam does to position codes that are constant on the grid of training, in half and in single precision.

    python benchmarks/constant_codes.py RUN --data camvid-480/camvid [--precision fp32] [--as-before]

The decoder of a trained FPN + IFA learns on, on features that are computed once. Every 50 steps the answer at cell
centres, resized, and that of every pixel are scored on a twentieth of the test images. RUN: a run of `camvid.py`, such
as RUNS/pretrained/ifa_fp32-0. `--as-before` gives the constants the gradient back that rounding leaves them, see
docs/resolution.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import featalign
from featalign.align import ImplicitFunction
from featalign.align.streaming import position_codes
from featalign.data import SegmentationDataset, normalize, open_dataset, train_transform
from featalign.inference import Predictor, evaluate
from featalign.models.fpn import FPN
from featalign.ops import Queries

BATCHES, BATCH, CROP = 24, 8, 192


def learnt_from_constants(function: ImplicitFunction, position: nn.Linear, queries: Queries, *, alone: bool) -> Tensor:
    """The position's part of the first layer as it was: with gradients for what the norm takes out again."""
    return position(position_codes(function.codes, queries).to(position.weight.dtype))


@torch.no_grad()
def batches(model: FPN, data: Path) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Maps of the backbone, and labels at the centres of its finest cells."""
    train = open_dataset(data, "train", transform=train_transform(crop=CROP, scales=(0.5, 1.5)))
    for _ in range(BATCHES):
        samples = [train[int(index)] for index in torch.randint(len(train), (BATCH,))]
        images = torch.stack([sample["image"].as_subclass(Tensor) for sample in samples])
        masks = torch.stack([sample["mask"].as_subclass(Tensor) for sample in samples])
        yield model.backbone(normalize(images, model.normalization)), masks[:, 2::4, 2::4].clone()


def score(model: FPN, test: SegmentationDataset) -> str:
    model.eval()
    words = []
    for mode in ("resized", "dense"):
        scores = evaluate(Predictor(model, mode=mode, device="cpu"), test).scores
        words.append(f"{mode} {100 * scores.miou:.2f} mIoU, {100 * scores.pixel_accuracy:.2f} accuracy")
    return "; ".join(words)


def run(options: argparse.Namespace) -> None:
    model = featalign.load(options.run).eval()
    assert isinstance(model, FPN), "expected a run of fpn"
    model.fill = 1  # as all rows of the evidence were tested
    if options.as_before:
        ImplicitFunction._position_table = learnt_from_constants
    test = open_dataset(options.data, "test")
    test.samples = test.samples[::20]
    torch.manual_seed(0)
    kept = list(batches(model, options.data))
    print(f"start: {score(model, test)}", flush=True)
    optimizer = torch.optim.AdamW(model.decoder.parameters(), lr=0.001, weight_decay=0.01)
    for step in range(1, options.steps + 1):
        model.decoder.train()
        maps, labels = kept[step % BATCHES]
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
            answer = model.decoder(maps)
        optimizer.zero_grad()
        F.cross_entropy(answer.float(), labels, ignore_index=model.classes.ignore_index).backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step}: {score(model, test)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="CamVid at 480x360")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--as-before", action="store_true")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
