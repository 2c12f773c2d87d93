"""Where two trained networks differ most, in label maps alone: no image of the data set is in the picture.

    python benchmarks/pictures.py runs/evidence/medium/alignfa-0 runs/evidence/medium/fpn_add-0 \\
        --data camvid-480/camvid --out docs/evidence-alignfa.png

A row per test image: both answers, who errs where, and, enlarged, the quarter by side with most pixels near boundaries
that only one has right. The same beside photo and truth: `featalign compare`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import featalign
from featalign.data import open_dataset
from featalign.figures import VOID_COLOR, colorize
from featalign.figures.alignment import Cell, page
from featalign.figures.differences import Box, Differences, busiest_window
from featalign.figures.drawing import Legend, framed, scale_labels
from featalign.figures.palette import occurring
from featalign.inference import Predictor, evaluate
from featalign.metrics import boundary_band
from featalign.reports.comparison import Differing, compare
from featalign.reports.pictures import Example, Rerun, examples
from featalign.spec import Classes

PANEL = (320, 240)
TEXT = 18
NEAR = 5
"""Pixels from a boundary that the enlarged part is chosen by."""
COLORS = 64
"""Of the file: more than classes and kinds of error."""


def picture(runs: tuple[Path, Path], data: Path, *, images: int) -> Image.Image:
    """The ``images`` test images whose labels show the most pixels that are right in one run alone, at least one image.

    Raises:
        FeatalignError: for a folder that is no run, or data without a test split.
    """
    test = open_dataset(data, "test")
    reruns = [Rerun(Predictor(featalign.load(run)), test) for run in runs]
    a, b = (run.name.rpartition("-")[0] or run.name for run in runs)
    differing = compare(*(evaluate(rerun.predictor, test) for rerun in reruns)).images[:images]
    shown = list(examples((image.name for image in differing), reruns))
    rows = [
        list(_cells((a, b), scores, example, test.classes)) for scores, example in zip(differing, shown, strict=True)
    ]
    labels = [prediction for example in shown for prediction in example.predictions]
    kinds = _errors((a, b), shown[0], test.classes).key
    key = [*occurring(test.classes, *labels), *kinds, (VOID_COLOR, "not labelled")]
    legend = Legend(key, TEXT).lines(len(rows[0]) * PANEL[0])
    return page(f"{a} and {b}: test images in which they differ most, mIoU of each", rows, legend)


def _cells(names: tuple[str, str], scores: Differing, example: Example, classes: Classes) -> Iterator[Cell]:
    """Both answers and the errors, then a part of each."""
    errors = _errors(names, example, classes)
    maps = [Image.fromarray(colorize(labels, classes)) for labels in example.predictions]
    maps.append(Image.fromarray(errors.paint(np.full_like(example.image, 255))))
    titles = [f"{name}, {100 * score:.1f}" for name, score in zip(names, (scores.a, scores.b), strict=True)]
    titles.append("errors")
    for title, drawn in zip(titles, maps, strict=True):
        yield Cell(title, framed(scale_labels(drawn, PANEL)))
    box = _box(errors, example, classes)
    for title, drawn in zip((*names, "errors"), maps, strict=True):
        yield Cell(f"{title}, a part", framed(scale_labels(drawn.crop(box), PANEL)))


def _errors(names: tuple[str, str], example: Example, classes: Classes) -> Differences:
    """Which of the two is wrong at which pixel."""
    predictions = dict(zip(names, example.predictions, strict=True))
    return Differences.between(example.truth, predictions, classes.ignore_index)


def _box(errors: Differences, example: Example, classes: Classes) -> Box:
    """(left, top, right, bottom) of the quarter by side with most pixels near a boundary that one alone has right."""
    near = boundary_band(torch.from_numpy(example.truth)[None], NEAR, classes.ignore_index)[0].numpy()
    height, width = near.shape
    return busiest_window(near & (errors.wrong[0] != errors.wrong[1]), height // 4, width // 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs=2, metavar="RUN", help="two run folders")
    parser.add_argument("--data", type=Path, required=True, help="CamVid at 480x360")
    parser.add_argument("--out", type=Path, required=True, help="a PNG file")
    parser.add_argument("--images", type=int, default=3)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    drawn = picture(tuple(options.runs), options.data, images=options.images)
    drawn.quantize(COLORS, dither=Image.Dither.NONE).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
