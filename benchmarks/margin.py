"""How near an answer in parts comes to that of the whole image, by the margin that windows show around their parts.

    python benchmarks/margin.py runs/first --images camvid/test/images --count 6

Each image is cut into blocks of at most ``--block`` pixels a side, small ones, so that there are many seams. Per
margin: labels that differ from the whole image's, of all and of those within 8 pixels of a seam, and the pixels that
the network is shown, relative to those of the image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import featalign
from featalign.inference import Predictor, collect_images
from featalign.inference.blocks import Blocks
from featalign.inference.predictor import as_images
from featalign.inference.views import ALL

MARGINS = (0, 16, 32, 64, 96, 128, 192, 256)
NEAR = 8


def in_parts(predictor: Predictor, pixels: NDArray[np.integer], blocks: Blocks) -> tuple[NDArray[np.integer], int]:
    """The labels, and how many pixels the network was shown."""
    labels, shown = np.empty(blocks.output, np.uint8), 0
    for block in blocks:
        views = blocks.views(block)
        rows, columns = blocks.pixels(views)
        cut = as_images(pixels[rows.start : rows.stop, columns.start : columns.stop])
        picture = predictor.picture(cut, whole=blocks.image, origin=(rows.start, columns.start))
        found = predictor.average(picture, views, block.size, None).labels()[0]
        labels[block.rows.start : block.rows.stop, block.columns.start : block.columns.stop] = found.numpy()
        shown += len(rows) * len(columns)
    return labels, shown


def near_seams(blocks: Blocks) -> NDArray[np.bool_]:
    """Pixels within NEAR of a cut."""
    near = np.zeros(blocks.output, bool)
    for axis, cuts in enumerate(blocks.cuts):
        for cut in cuts[1:-1]:
            near[(slice(None),) * axis + (slice(cut - NEAR, cut + NEAR),)] = True
    return near


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a training run or model folder")
    parser.add_argument("--images", type=Path, required=True, help="an image or a folder of them")
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--block", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(1)
    predictor, paths = Predictor(featalign.load(options.model)), collect_images([options.images])
    counts = {margin: np.zeros(5, np.int64) for margin in MARGINS}
    for path in paths[:: max(1, len(paths) // options.count)][: options.count]:
        pixels = predictor.read(path)
        size, whole = (pixels.shape[0], pixels.shape[1]), predictor(pixels).labels
        for margin in MARGINS:
            blocks = Blocks(size, size, ALL, size, (options.block + 2 * margin,) * 2, margin)
            labels, shown = in_parts(predictor, pixels, blocks)
            differs, near = labels != whole, near_seams(blocks)
            counts[margin] += [differs.sum(), whole.size, differs[near].sum(), near.sum(), shown]
    print("| margin | labels that differ | near seams | pixels shown |\n|" + "---|" * 4)
    for margin, (differ, every, differ_near, every_near, shown) in counts.items():
        print(f"| {margin} | {differ / every:.4%} | {differ_near / every_near:.4%} | {shown / every:.2f} |")


if __name__ == "__main__":
    main()
