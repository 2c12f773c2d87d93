"""What it brings to fill images up to whole cells, for trained networks on a labelled split.

    python benchmarks/filling.py runs/evidence/*/* --data camvid-480/camvid

Each network is scored twice, on images as they are (``fill = 1``: its coarse maps are stretched over them) and as the
library shows them. Prints a table, as Markdown. Where both sides are multiples of 32 there is nothing to fill.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import featalign
from featalign.data import open_dataset
from featalign.inference import Evaluation, Predictor, evaluate


def percents(found: Evaluation) -> tuple[float, float]:
    """mIoU, and within 3 pixels of a boundary."""
    return 100 * found.scores.miou, 100 * found.boundary[3].miou


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="training runs or model folders")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    options = parser.parse_args()
    labelled = open_dataset(options.data, options.split)
    print("| run | mIoU, as they are | filled | gain | within 3 px, as they are | filled | gain |\n|" + "---|" * 7)
    for run in options.runs:
        model = featalign.load(run)
        filled = percents(evaluate(Predictor(model), labelled))
        model.fill = 1
        plain = percents(evaluate(Predictor(model), labelled))
        cells = [f"{a:.2f} | {b:.2f} | {b - a:+.2f}" for a, b in zip(plain, filled, strict=True)]
        print(f"| {run.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
