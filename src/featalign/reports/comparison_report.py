"""The report of a comparison of two runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from featalign.figures.differences import BLUE, PURPLE, RED, Box, Differences
from featalign.figures.palette import occurring
from featalign.reports.charts import curve, interval_plot
from featalign.reports.comparison import Comparison, Differing, Row
from featalign.reports.markup import Html, tag
from featalign.reports.page import (
    between,
    class_cell,
    folded,
    page,
    pairs,
    percent,
    percent_cell,
    section,
    signed,
    table,
)
from featalign.reports.pictures import Example, Frame, drawn, legend, photo, row, tinted
from featalign.reports.regions import Region, resolved_regions
from featalign.spec import Classes

LISTED = 500
"""Images listed by name: the most different ones."""
AROUND = 4
"""An enlargement shows at least this part of the image, by side."""


def comparison_report(
    found: Comparison,
    *,
    names: tuple[str, str],
    settings: Mapping[str, object],
    versions: Mapping[str, str],
    shown: Sequence[Compared] = (),
) -> str:
    """A page (HTML) with both runs side by side, which needs no other file.

    Args:
        found: the scores.
        names: of the runs.
        settings: how they were scored and compared, in plain values.
        versions: of what this was done with.
        shown: images with both predictions, and their regions.
    """
    parts = [
        _runs(names),
        *([tag("p", found.warning, class_="warning")] if found.warning else []),
        _scores(found),
        *([_bands(found)] if found.a.per_image_bands else []),
        _classes(found),
        *([_examples(shown, found)] if shown else []),
        _images(found),
        section("Settings", pairs(settings)),
        section("Versions", pairs(versions)),
    ]
    return page(f"{names[0]} against {names[1]}", f"{found.a.images} images, {len(found.classes)} classes", parts)


@dataclass(frozen=True)
class Compared:
    """An image with two predictions, and where they differ."""

    example: Example
    regions: tuple[Region, ...]

    @classmethod
    def of(cls, example: Example, classes: Classes) -> Compared:
        """With its regions found."""
        a, b = example.predictions
        return cls(example, tuple(resolved_regions(example.truth, a, b, ignore_index=classes.ignore_index)))

    def to_json(self) -> list[dict[str, object]]:
        """The regions; boxes are (left, top, right, bottom) in pixels."""
        return [vars(region) | {"box": list(region.box)} for region in self.regions]


def _runs(names: tuple[str, str]) -> Html:
    letters = (_letter(letter) for letter in "ab")
    items = (tag("li", letter, " ", name) for letter, name in zip(letters, names, strict=True))
    return tag("ul", *items, class_="legend")


def _letter(run: str) -> Html:
    return tag("span", run.upper(), class_=f"letter {run}")


def _scores(found: Comparison) -> Html:
    interval = found.scores[0].interval
    return section(
        "Scores",
        _table("score", [(tag("td", row.name), row) for row in found.scores]),
        note=f"In percent; differences are A − B. The interval holds {100 * interval.confidence:g} % of what the "
        f"difference becomes when the {interval.images} images are drawn again with replacement (paired bootstrap). "
        "It holds the luck of the images, not that of the training seed. Where it holds 0, "
        "no difference can be claimed.",
    )


def _classes(found: Comparison) -> Html:
    colors = found.a.classes.colors
    rows = [(class_cell(row.name, color), row) for row, color in zip(found.classes, colors, strict=True)]
    alpha = 1 - found.scores[0].interval.confidence
    return section(
        "Classes",
        _table("class", rows),
        note=f"IoU in percent. Of {len(rows)} intervals, about {alpha * len(rows):.1f} leave out 0 by luck alone.",
    )


def _table(first: str, rows: Sequence[tuple[Html, Row]]) -> Html:
    reach = max((abs(e) for _, r in rows for e in (r.interval.low, r.interval.high) if e == e), default=0.0)
    return table([first, "A", "B", "A − B", "interval", "", ""], [_cells(name, row, reach) for name, row in rows])


def _cells(name: Html, row: Row, reach: float) -> list[str]:
    interval = row.interval
    ends = between(interval.low, interval.high)
    kind = None
    if interval.decided:
        kind = "a" if interval.difference > 0 else "b"
    plot = tag("td", interval_plot(interval, reach))
    verdict = tag("td", tag("span", row.verdict, class_=kind or "minor"), class_="say")
    return [name, percent_cell(row.a), percent_cell(row.b), signed(interval.difference), ends, plot, verdict]


def _bands(found: Comparison) -> Html:
    rows = [*(row for row in found.scores if row.name.startswith("mIoU, ")), found.scores[0]]
    places = [*(row.name.removeprefix("mIoU, ") for row in rows[:-1]), "whole image"]
    series = {"A": [row.a for row in rows], "B": [row.b for row in rows]}
    return section(
        "Near boundaries",
        curve(series, places, title="mIoU by width of the boundary band"),
        note="mIoU in percent of the pixels at most that far from a pixel of another class.",
    )


def _examples(shown: Sequence[Compared], found: Comparison) -> Html:
    maps = [labels for one in shown for labels in (one.example.truth, *one.example.predictions)]
    scores = {image.name: image for image in found.images}
    key = [(BLUE, "A right, B wrong"), (RED, "B right, A wrong"), (PURPLE, "both wrong")]
    return section(
        "Where they differ most",
        legend(occurring(found.a.classes, *maps)),
        legend(key),
        *(_example(one, scores[one.example.name], found.a.classes) for one in shown),
        note="Images with the largest share of pixels that one run has right and the other wrong. Boxes are around "
        "regions that one resolves and the other does not: blue ones A, red ones B; the first is shown enlarged.",
    )


def _example(one: Compared, scores: Differing, classes: Classes) -> Html:
    example, frames = one.example, [Frame(r.box, r.run, i) for i, r in enumerate(one.regions, start=1)]
    said = f"mIoU {percent(scores.a)} with A, {percent(scores.b)} with B"
    parts = [row(list(_panels(example, classes, frames)))]
    if one.regions:
        box = enlarged(one.regions[0].box, example.truth.shape)
        parts += [tag("p", "Region 1, enlarged", class_="note"), row(list(_panels(_cut(example, box), classes, [])))]
    listed = [_region(i, region) for i, region in enumerate(one.regions, start=1)]
    return tag(
        "div",
        tag("h3", example.name),
        tag("p", said, class_="note"),
        *parts,
        tag("ul", *listed, class_="legend"),
        class_="example",
    )


def _region(number: int, region: Region) -> Html:
    other = "B" if region.run == "a" else "A"
    return tag(
        "li",
        tag("span", str(number), class_=f"letter {region.run}"),
        f" {region.run.upper()} is right and {other} wrong at {region.pixels:,} pixels",
    )


def _panels(example: Example, classes: Classes, frames: Sequence[Frame]) -> Iterator[Html]:
    a, b = example.predictions
    wrong = Differences.between(example.truth, {"A": a, "B": b}, classes.ignore_index)
    yield photo(example.image, "image", frames=frames)
    yield tinted(example.image, example.truth, classes, "truth", frames=frames)
    yield tinted(example.image, a, classes, "A", frames=frames)
    yield tinted(example.image, b, classes, "B", frames=frames)
    yield drawn(wrong.paint(example.image), "errors", frames=frames)


def _cut(example: Example, box: Box) -> Example:
    left, top, right, bottom = box
    part = (slice(top, bottom), slice(left, right))
    predictions = tuple(labels[part] for labels in example.predictions)
    return Example(example.name, example.image[part], example.truth[part], predictions)


def enlarged(box: Box, shape: tuple[int, ...]) -> Box:
    """A box in the image's proportions with this one in its middle, as far as the image (H, W) goes."""
    height, width = shape[:2]
    left, top, right, bottom = box
    share = min(1.0, max(1 / AROUND, 1.2 * (right - left) / width, 1.2 * (bottom - top) / height))
    wide, high = max(1, round(share * width)), max(1, round(share * height))
    x = min(max(0, (left + right - wide) // 2), width - wide)
    y = min(max(0, (top + bottom - high) // 2), height - high)
    return x, y, x + wide, y + high


def _images(found: Comparison) -> Html:
    rows = [
        [image.name, percent_cell(image.a), percent_cell(image.b), signed(image.a - image.b), percent(image.share)]
        for image in found.images[:LISTED]
    ]
    many = len(found.images) > LISTED
    said = f"The {LISTED} most different of {len(found.images)} images" if many else "Every image"
    header = ["image", "mIoU of A", "mIoU of B", "A − B", "pixels right in one alone, at least"]
    return section("Images", folded(said, table(header, rows, sortable=True)))
