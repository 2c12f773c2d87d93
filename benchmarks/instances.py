"""Mask R-CNN or Faster R-CNN on nuclei, under one recipe with each fuse: average precision while it learns.

    python benchmarks/instances.py DATA --fuse add fapn alignfa --seeds 0 1 --iterations 240 --json instances.json

DATA holds ``annotations/instances_{train,val}.json`` and ``{train,val}/images``, as COCO's format has it. The networks
are small and start from nothing, so that a CPU can train them: what is compared is how far so many iterations bring
each, not what they could reach. The library's parts do the work: pyramid, reader, transform, scores.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

import featalign
from featalign.data import EndlessBatches
from featalign.data.objects import ObjectDataset, detection_target, object_transform, open_objects
from featalign.inference import detect, score_detector
from featalign.models.detector import Detector, normalized
from featalign.models.resizing import ROI_SHIFT, Resizing
from featalign.spec import Classes, Normalization

WIDTH, BATCH, CROP = 64, 2, 128
ANCHORS = ((8,), (16,), (32,), (64,), (128,))  # nuclei are small
FEW = {  # per image: enough for a hundred nuclei, cheap enough for a CPU
    "rpn_pre_nms_top_n_train": 400,
    "rpn_post_nms_top_n_train": 200,
    "rpn_pre_nms_top_n_test": 400,
    "rpn_post_nms_top_n_test": 200,
    "box_batch_size_per_image": 64,
    "box_detections_per_img": 100,
}


def build(detector: str, fuse: str, backbone: str, classes: Classes) -> Detector:
    """The detector with small heads; images keep their size."""
    options: dict[str, Any] = {
        "num_classes": len(classes) + 1,
        "rpn_anchor_generator": AnchorGenerator(ANCHORS, ((0.5, 1.0, 2.0),) * len(ANCHORS)),
        **FEW,
    }
    pyramid = featalign.pyramid(backbone, fuse=fuse, width=WIDTH)
    if detector == "faster":
        network = FasterRCNN(pyramid, **options)
    else:
        network = MaskRCNN(pyramid, mask_head=MaskRCNNHeads(WIDTH, (WIDTH, WIDTH), 1), **options)
        network.roi_heads.mask_predictor = MaskRCNNPredictor(WIDTH, WIDTH, len(classes) + 1)
    network.transform = Resizing(None, mask_shift=ROI_SHIFT, **normalized(Normalization(), 3))
    return Detector(network, classes, {}, in_channels=3)


def train(model: Detector, dataset: ObjectDataset, *, seed: int, iterations: int, every: int, score: Any) -> None:
    """AdamW with warm-up and cosine; ``score(iteration)`` is called at the start, ``every`` so many, and at the end."""
    samples = list(dataset)  # decoded once; augmented anew each time
    augment = object_transform(crop=CROP, scales=(0.7, 1.4), jitter=0.3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=iterations + 1, pct_start=0.1)
    for iteration, draws in enumerate(EndlessBatches(len(samples), batch=BATCH, seed=seed, stop=iterations)):
        if iteration % every == 0:
            score(iteration)
        batch = []
        for draw in draws:
            torch.manual_seed(draw.seed)
            batch.append(augment(samples[draw.index]))
        model.train()
        losses = model([sample["image"] for sample in batch], [detection_target(sample) for sample in batch])
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    score(iterations)


def draw(model: Detector, dataset: ObjectDataset, folder: Path, name: str, *, images: int = 4) -> None:
    """What it is at least half sure of in the first images."""
    folder.mkdir(parents=True, exist_ok=True)
    for sample in [dataset[index] for index in range(min(images, len(dataset)))]:
        image = sample["image"].permute(1, 2, 0).numpy()
        detect(model, image).overlay(image).save(folder / f"{name}-{sample['name']}.png")


def run(arguments: argparse.Namespace, fuse: str, seed: int) -> dict[str, Any]:
    """One training: its parameters, its scores as it learns, and how long it took."""
    boxes_alone = arguments.detector == "faster"
    sets = {
        split: open_objects(
            arguments.data / "annotations" / f"instances_{split}.json",
            arguments.data / split / "images",
            masks=not boxes_alone,
            empty="drop" if split == "train" else "keep",
        )
        for split in ("train", "val")
    }
    torch.manual_seed(seed)
    model = build(arguments.detector, fuse, arguments.backbone, sets["train"].classes)
    curve: list[dict[str, Any]] = []
    began = time.process_time()

    def score(iteration: int) -> None:
        row: dict[str, Any] = {"iteration": iteration, "seconds": round(time.process_time() - began)}
        for kind, scores in score_detector(model, sets["val"]).items():
            row[kind] = {"ap": scores.ap, "ap50": scores.ap50, "ap75": scores.ap75}
        curve.append(row)
        print(arguments.detector, fuse, seed, json.dumps(row), flush=True)

    train(model, sets["train"], seed=seed, iterations=arguments.iterations, every=arguments.every, score=score)
    if arguments.pictures:
        draw(model, sets["val"], arguments.pictures, f"{arguments.detector}-{fuse}-{seed}")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"fuse": fuse, "seed": seed, "parameters": parameters, "curve": curve}


def main(argv: Sequence[str] | None = None) -> None:
    """Trains each fuse with each seed that the file has not yet, one after the other; it is written after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--detector", choices=("mask", "faster"), default="mask")
    parser.add_argument("--fuse", nargs="+", default=["add", "fapn"])
    parser.add_argument("--backbone", default="resnet10t")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--iterations", type=int, default=240)
    parser.add_argument("--every", type=int, default=120, help="iterations between two scores")
    parser.add_argument("--json", type=Path, default=Path("instances.json"))
    parser.add_argument("--pictures", type=Path, help="folder for the detections in the first images")
    arguments = parser.parse_args(argv)
    runs = json.loads(arguments.json.read_text())["runs"] if arguments.json.exists() else []
    for seed in arguments.seeds:
        for fuse in arguments.fuse:
            if any((one["fuse"], one["seed"]) == (fuse, seed) for one in runs):
                continue
            runs.append(run(arguments, fuse, seed))
            arguments.json.write_text(json.dumps({"detector": arguments.detector, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
