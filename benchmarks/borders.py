"""How long the borders between classes are in a network's answers, and how much of that IFA's high frequencies draw.

    python benchmarks/borders.py runs/evidence/pretrained/fapn_none_then_ifa-* --data camvid-full/camvid \\
        --input-size 360x480 --images 24 --revealed 1 0.5 0.2

Each network answers evenly spread images of a split at the size of their masks, by its stride-4 grid enlarged and at
every pixel, there with as much of the frequencies as ``--revealed`` lets through. Prints a table, as Markdown: the
length of all borders relative to that of the labels, where these are not void, mIoU, and mIoU within 3 pixels of a
boundary.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import featalign
from featalign.align.encoding import PositionEncoding
from featalign.cli.console import parse_size
from featalign.data import SegmentationDataset, open_dataset
from featalign.inference import Predictor
from featalign.metrics import BoundaryBands, ConfusionMatrix
from featalign.spec import IGNORE_INDEX


@dataclass
class Borders:
    """Sums over the images; ``found`` and ``true`` are lengths in pixel edges, of the answers and of the labels."""

    matrix: ConfusionMatrix
    bands: BoundaryBands
    found: int = 0
    true: int = 0

    def update(self, labels: Tensor, truth: Tensor) -> None:
        """Add one image: class ids (H, W), and what they should be."""
        self.matrix.update(labels, truth)
        self.bands.update(labels, truth)
        for axis in (0, 1):
            known = (truth != IGNORE_INDEX).unfold(axis, 2, 1).all(-1)
            self.found += int((labels.diff(dim=axis) != 0)[known].sum())
            self.true += int((truth.diff(dim=axis) != 0)[known].sum())

    def row(self) -> str:
        """What a row of the table says."""
        miou, near = self.matrix.scores().miou, self.bands.scores()[3].miou
        return f"{self.found / self.true:.2f} | {100 * miou:.1f} | {100 * near:.1f}"


def borders(
    predictor: Predictor, labelled: SegmentationDataset, *, images: int, input_size: tuple[int, int] | None
) -> Borders:
    """Of so many images, evenly spread, answered at the size of their masks; the network sees them at ``input_size``,
    (height, width) in pixels, or at their own."""
    classes = len(labelled.classes)
    sums = Borders(ConfusionMatrix(classes), BoundaryBands(classes, (3,)))
    for index in torch.linspace(0, len(labelled) - 1, min(images, len(labelled))).long().tolist():
        sample = labelled[index]
        size = (sample["mask"].shape[0], sample["mask"].shape[1])
        labels = predictor.labels(sample["image"][None], size=size, input_size=input_size)[0]
        sums.update(labels.long(), sample["mask"].long())
    return sums


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="training runs or model folders of networks with IFA")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--input-size", type=parse_size, metavar="HxW", help="at which the networks see the images")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--revealed", type=float, nargs="+", default=[1.0, 0.5, 0.2], metavar="SHARE")
    options = parser.parse_args()
    labelled = open_dataset(options.data, options.split)
    print("| run | asked | frequencies | borders | mIoU | within 3 px |\n|" + "---|" * 6)
    for run in options.runs:
        model = featalign.load(run)
        codes = [module for module in model.modules() if isinstance(module, PositionEncoding)]
        for mode, share in (("resized", 1.0), *(("dense", share) for share in options.revealed)):
            for code in codes:
                code.revealed = share
            found = borders(
                Predictor(model, device="cpu", mode=mode),
                labelled,
                images=options.images,
                input_size=options.input_size,
            )
            print(f"| {run.name} | {mode} | {share:g} | {found.row()} |", flush=True)


if __name__ == "__main__":
    main()
