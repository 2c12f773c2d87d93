"""The report of one evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isnan, nan

import numpy as np

from featalign.figures.differences import Differences
from featalign.figures.palette import occurring
from featalign.inference import Evaluation
from featalign.inference.counted import METRIC_TITLES
from featalign.inference.grouping import TITLES
from featalign.metrics.counts import ratio, recall
from featalign.reports.charts import confusion_map, curve
from featalign.reports.markup import Html, tag
from featalign.reports.page import (
    class_cell,
    folded,
    page,
    pairs,
    percent,
    percent_cell,
    section,
    table,
    tiles,
)
from featalign.reports.pictures import Example, drawn, legend, photo, row, tinted
from featalign.reports.ranking import Ranked, confusions

LISTED = 500
"""Images listed by name: the worst ones."""


def evaluation_report(
    found: Evaluation,
    ranked: Ranked,
    *,
    title: str,
    settings: Mapping[str, object],
    versions: Mapping[str, str],
    best: Sequence[Example] = (),
    worst: Sequence[Example] = (),
) -> str:
    """A page (HTML) that says everything an evaluation does, and needs no other file.

    Args:
        found: the scores.
        ranked: its images by score.
        title: such as the name of the run.
        settings: how it was scored, in plain values.
        versions: of what it was scored with.
        best, worst: images to show, each with one prediction.
    """
    parts = [
        tiles(dict(_summary(found))),
        _classes(found),
        *([_categories(found)] if found.categories else []),
        *([_bands(found)] if found.boundary else []),
        _confusion(found),
        *([_examples("Worst images", worst, ranked, found)] if worst else []),
        *([_examples("Best images", best, ranked, found)] if best else []),
        _images(ranked),
        section("Settings", pairs(settings)),
        section("Versions", pairs(versions)),
    ]
    if found.skipped:
        parts.insert(1, section("Left out", pairs(found.skipped), note="These images could not be read."))
    of = f"{settings['split']} split, " if "split" in settings else ""
    return page(f"Evaluation of {title}", f"{of}{found.images} images, {len(found.classes)} classes", parts)


def _summary(found: Evaluation) -> Iterator[tuple[str, str]]:
    yield from ((name, "–" if isnan(score) else f"{percent(score)} %") for name, score in _scores(found))
    if found.seconds:
        yield "per image (median)", f"{1000 * found.seconds_per_image:.0f} ms"
    if found.peak_memory is not None:
        yield "peak memory", f"{found.peak_memory / 2**20:.0f} MiB"


def _scores(found: Evaluation) -> Iterator[tuple[str, float]]:
    yield "mIoU", found.scores.miou
    yield "pixel accuracy", found.scores.pixel_accuracy
    yield "mean accuracy", found.scores.mean_accuracy
    yield from ((TITLES[key], mean) for key, mean in found.groups.means.items())
    if found.boundary:
        width = min(found.boundary)
        yield f"mIoU, {width} px from boundaries", found.boundary[width].miou
    yield from ((name, mean) for name, (_, mean) in _further(found))


def _further(found: Evaluation) -> Iterator[tuple[str, tuple[list[float], float]]]:
    """By class, and the mean, of the metrics that were asked for."""
    for name, counted in found.metrics.items():
        yield METRIC_TITLES[name], (counted.by_class, counted.mean)


def _classes(found: Evaluation) -> Html:
    columns = dict(_columns(found))
    rows = [
        [class_cell(name, color), *(percent_cell(values[i]) for values, _ in columns.values())]
        for i, (name, color) in enumerate(zip(found.classes.names, found.classes.colors, strict=True))
    ]
    note = "In percent. A header sorts."
    if found.boundary:
        note += " “IoU, n px” counts only pixels at most n pixels from another class."
    if found.scores.absent:
        names = ", ".join(found.classes.names[i] for i in found.scores.absent)
        note += f" Absent from this split and left out of the means: {names}."
    foot = ["mean", *(percent(mean) if mean is not None else "" for _, mean in columns.values())]
    return section("Classes", table(["class", *columns], rows, foot=foot, sortable=True), note=note)


def _columns(found: Evaluation) -> Iterator[tuple[str, tuple[Sequence[float], float | None]]]:
    """By class, and the mean where it is a score."""
    counts = found.per_image.sum(0).astype(np.float64)
    pixels = counts[0] + counts[2]
    yield "share of pixels", (ratio(pixels, np.full_like(pixels, pixels.sum())).tolist(), None)
    yield "IoU", (found.scores.iou, found.scores.miou)
    yield "recall", (recall(counts).tolist(), found.scores.mean_accuracy)
    yield "precision", (ratio(counts[0], counts[0] + counts[1]).tolist(), None)
    if found.instances:
        yield "iIoU", ([found.groups.iiou.get(name, nan) for name in found.classes.names], found.groups.means["iiou"])
    for width, band in sorted(found.boundary.items()):
        yield f"IoU, {width}\N{NO-BREAK SPACE}px", (band.iou, band.miou)
    yield from _further(found)


def _categories(found: Evaluation) -> Html:
    groups = found.groups
    columns = {"category_iou": groups.category_iou, "category_iiou": groups.category_iiou}
    columns = {key: values for key, values in columns.items() if values}
    rows = [
        [name, *(percent_cell(values.get(name, nan)) for values in columns.values())] for name in groups.category_iou
    ]
    foot = ["mean", *(percent(groups.means[key]) for key in columns)]
    return section(
        "Categories",
        table(["category", *(TITLES[key] for key in columns)], rows, foot=foot, sortable=True),
        note="In percent. A class labelled as another one of its category is right here.",
    )


def _bands(found: Evaluation) -> Html:
    bands = dict(sorted(found.boundary.items()))
    line = [*(band.miou for band in bands.values()), found.scores.miou]
    places = [*(f"{width} px" for width in bands), "whole image"]
    return section(
        "Near boundaries",
        curve({"mIoU": line}, places, title="mIoU by width of the boundary band"),
        note="mIoU in percent of the pixels at most that far from a pixel of another class.",
    )


def _confusion(found: Evaluation) -> Html:
    names = found.classes.names
    rows = [
        [f"{names[c.truth]} → {names[c.labelled]}", percent(c.share), f"{c.pixels:,}"] for c in confusions(found.matrix)
    ]
    listed = tag(
        "div", tag("h3", "Most pixels confused"), table(["truth → labelled", "% of the class", "pixels"], rows)
    )
    return section(
        "Confusion",
        tag("div", confusion_map(found.matrix, names), *([listed] if rows else []), class_="beside"),
        note="Each row is a class of the truth; its cells say, in percent of its pixels, what they were labelled. "
        "Below 0.5 % a cell is blank; a pointer on a cell shows its value.",
    )


def _examples(title: str, chosen: Sequence[Example], ranked: Ranked, found: Evaluation) -> Html:
    maps = [labels for example in chosen for labels in (example.truth, *example.predictions)]
    return section(
        title,
        legend(occurring(found.classes, *maps)),
        *(_example(example, ranked, found) for example in chosen),
        note="By mIoU of the image, over the classes that are in it. Wrong pixels are red.",
    )


def _example(example: Example, ranked: Ranked, found: Evaluation) -> Html:
    classes, labels = found.classes, example.predictions[0]
    wrong = Differences.between(example.truth, {"prediction": labels}, classes.ignore_index)
    scores = f"mIoU {percent(ranked.miou[example.name])}, pixel accuracy {percent(ranked.accuracy[example.name])}"
    panels = [
        photo(example.image, "image"),
        tinted(example.image, example.truth, classes, "truth"),
        tinted(example.image, labels, classes, "prediction"),
        drawn(wrong.paint(example.image), "wrong pixels"),
    ]
    return tag("div", tag("h3", example.name), tag("p", scores, class_="note"), row(panels), class_="example")


def _images(ranked: Ranked) -> Html:
    names = ranked.names[:LISTED]
    rows = [[name, percent_cell(ranked.miou[name]), percent_cell(ranked.accuracy[name])] for name in names]
    said = f"The {LISTED} worst of {len(ranked.names)} images" if len(ranked.names) > LISTED else "Every image"
    return section("Images", folded(said, table(["image", "mIoU", "pixel accuracy"], rows, sortable=True)))
