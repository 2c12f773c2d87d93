"""Predictions beside the truth: one row of panels, and one that enlarges where they differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from featalign.figures.differences import Box, Differences
from featalign.figures.drawing import (
    INK,
    PAPER,
    Legend,
    display_size,
    framed,
    scale_labels,
    scale_photo,
    write_centered,
)
from featalign.figures.palette import Labels, Pixels, check_image, check_labels, colorize, occurring
from featalign.spec import Classes

MARGIN, GAP, TITLE, TEXT = 28, 14, 22, 18


def comparison(
    *,
    image: Pixels,
    truth: Labels,
    predictions: Mapping[str, Labels],
    classes: Classes,
    zoom: bool = True,
) -> Image.Image:
    """A figure of the image, the truth, each prediction, and where which prediction is wrong.

    Ignored pixels of the truth are shown nearly black and count in no difference. Small images are enlarged by a whole
    factor and large ones shrunk, so that the longer side of a panel is between 320 and 640 pixels.

    Args:
        image: uint8 (H, W, 3).
        truth: class ids (H, W), or the classes' ignore index.
        predictions: title of the panel -> class ids (H, W); at least one, in the order of the panels.
        zoom: a second row that enlarges the quarter (by side) of the image where the predictions differ most, or, of
            a single prediction, where it is wrong most; left out where nothing is wrong.

    Raises:
        ValueError: if there is no prediction, sizes differ, or an id is not one of the classes.
    """
    image = check_image(image)
    maps = {"truth": check_labels("truth", truth, classes, image.shape[:2])}
    for name, labels in predictions.items():
        maps[name] = check_labels(name, labels, classes, image.shape[:2])
    if len(maps) != len(predictions) + 1 or not predictions:
        raise ValueError(f"got predictions {list(predictions)}; expected at least one, none of them called truth")
    differences = Differences.between(maps["truth"], {name: maps[name] for name in predictions}, classes.ignore_index)
    panels = [
        Panel("image", Image.fromarray(image), photo=True),
        *(Panel(name, Image.fromarray(colorize(labels, classes))) for name, labels in maps.items()),
        Panel("differences", Image.fromarray(differences.paint(image))),
    ]
    rows = _draw_rows(panels, differences.busiest_box() if zoom else None)
    legends = [Legend(occurring(classes, *maps.values()), TEXT), Legend(differences.key, TEXT)]
    return _stack([rows, *(legend.lines(rows.width) for legend in legends)])


@dataclass(frozen=True)
class Panel:
    """A titled picture at the arrays' own size."""

    title: str
    picture: Image.Image
    photo: bool = False
    """Photos are enlarged smoothly, all else pixel by pixel."""

    def shown(self, size: tuple[int, int], box: Box | None = None) -> Image.Image:
        """The whole picture, or a box of it, at this display size (width, height)."""
        part = self.picture.crop(box) if box else self.picture
        return framed((scale_photo if self.photo else scale_labels)(part, size))


def _draw_rows(panels: Sequence[Panel], box: Box | None) -> Image.Image:
    """The titles, the whole panels, and below them the box of each enlarged."""
    source = panels[0].picture
    width, height = size = display_size((source.height, source.width), smallest=320, largest=640)
    head = 2 * TITLE
    rows = 1 if box is None else 2
    canvas = Image.new("RGB", (len(panels) * (width + GAP) - GAP, head + rows * (height + GAP) - GAP), PAPER)
    draw = ImageDraw.Draw(canvas)
    for i, panel in enumerate(panels):
        left = i * (width + GAP)
        write_centered(draw, (left + width / 2, head / 2), panel.title, size=TITLE, width=width)
        canvas.paste(panel.shown(size), (left, head))
        if box is not None:
            _outline(draw, box, (left, head), width / source.width)
            canvas.paste(panel.shown(size, box), (left, head + height + GAP))
    return canvas


def _outline(draw: ImageDraw.ImageDraw, box: Box, corner: tuple[int, int], factor: float) -> None:
    """A white line between dark ones, to be seen on any picture."""
    x0, y0, x1, y1 = (round(factor * edge) for edge in box)
    for inset, color in ((0, INK), (1, PAPER), (2, PAPER), (3, INK)):
        left, top, right, bottom = x0 + inset, y0 + inset, x1 - 1 - inset, y1 - 1 - inset
        if left < right and top < bottom:
            draw.rectangle((corner[0] + left, corner[1] + top, corner[0] + right, corner[1] + bottom), outline=color)


def _stack(parts: Sequence[Image.Image]) -> Image.Image:
    """Parts under one another on white, within a margin."""
    width = max(part.width for part in parts)
    height = sum(part.height for part in parts) + GAP * (len(parts) - 1)
    canvas = Image.new("RGB", (width + 2 * MARGIN, height + 2 * MARGIN - TITLE // 2), PAPER)
    top = MARGIN - TITLE // 2
    for part in parts:
        canvas.paste(part, (MARGIN, top))
        top += part.height + GAP
    return canvas
