"""What a training sample costs to read and to cut: with a cache, and against resizing the whole image first.

    python benchmarks/loading.py DATA --recipe camvid/fpn_ifa_resnet18 --images 40

Milliseconds of process time per sample, one thread, medians over images. "Whole image first" is torchvision's resize of
image and mask, then its padding and crop: the same crop, but for the rounding.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from featalign.data import Sample, SegmentationDataset
from featalign.training import Recipe, load_recipe
from featalign.training.splits import augmentation, open_splits


def whole_image_first(recipe: Recipe) -> Callable[[Sample], Sample]:
    """The usual order: the image is scaled, padded, cropped, flipped and jittered."""
    (height, width), (low, high), jitter = recipe.data.crop, recipe.data.scales, recipe.data.jitter
    crop = v2.RandomCrop((height, width), pad_if_needed=True)
    flip = v2.RandomHorizontalFlip(recipe.data.flip)
    rest = v2.Compose([flip, v2.ColorJitter(jitter, jitter, jitter)]) if jitter else flip

    def transform(sample: Sample) -> Sample:
        scale = low + (high - low) * torch.rand(()).item()
        size = [max(1, round(side * scale)) for side in sample["image"].shape[-2:]]
        image = F.resize(sample["image"], size, antialias=True)
        mask = F.resize(sample["mask"], size, InterpolationMode.NEAREST_EXACT)
        image, mask = rest(*crop(image, mask))
        return {"image": image, "mask": mask, "name": sample["name"]}

    return transform


def milliseconds(work: Callable[[int], object], images: int) -> float:
    """The median over ``images``, each once."""
    taken = []
    for index in range(images):
        start = time.process_time()
        work(index)
        taken.append(time.process_time() - start)
    return 1000 * statistics.median(taken)


def costs(dataset: SegmentationDataset, recipe: Recipe, *, images: int) -> dict[str, float]:
    """By what is done."""
    orders = {
        "cut, crop first": augmentation(recipe.data, ignore_index=dataset.classes.ignore_index),
        "cut, whole image first": whole_image_first(recipe),
    }
    dataset.transform = None
    samples = [dataset[index] for index in range(images)]
    reading = milliseconds(lambda index: dataset[index], images)
    cutting = {name: milliseconds(lambda i, cut=cut: cut(samples[i]), images) for name, cut in orders.items()}
    return {"read and decode (nothing, with a cache)": reading, **cutting}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", default="camvid/fpn_ifa_resnet18")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--images", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = load_recipe(arguments.recipe).with_overrides(arguments.set)
    train = open_splits(arguments.data, recipe.data).train
    assert isinstance(train, SegmentationDataset)
    print("| per sample | ms |\n|---|---:|")
    for name, cost in costs(train, recipe, images=min(arguments.images, len(train))).items():
        print(f"| {name} | {cost:.1f} |")


if __name__ == "__main__":
    main()
