"""One step of alignment as one picture: its offset fields, and the maps that go in and come out.

A feature map is drawn by its mean over the channels (IFA, Fig. 5), cell by cell, dark to bright.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from featalign.figures.drawing import INK, PAPER, display_size, font, framed, scale_labels, scale_photo, write_centered
from featalign.figures.fields import Field, field_arrows, field_colors, field_key, longest
from featalign.figures.palette import Pixels, check_image

Map = NDArray[np.floating]
MARGIN, GAP, HEADING, TITLE, TEXT = 28, 14, 26, 19, 15
SMALLEST, LARGEST = 320, 420
# Dark to bright with evenly rising lightness and no loss for the colour-blind: viridis at nine places.
_RAMP = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ]
)


@dataclass(frozen=True)
class Cell:
    """A picture at its display size, a title above it and a caption below."""

    title: str
    picture: Image.Image
    caption: str = ""


@dataclass(frozen=True)
class Gallery:
    """Makes the cells of figures about one image: all of one size, the image's own shape."""

    image: Pixels
    size: tuple[int, int]
    """(width, height)."""

    @classmethod
    def of(cls, image: Pixels) -> Self:
        """For an image uint8 (H, W, 3); small ones are enlarged by a whole factor, large ones shrunk."""
        image = check_image(image)
        return cls(image, display_size((image.shape[0], image.shape[1]), smallest=SMALLEST, largest=LARGEST))

    def photo(self, title: str, picture: Image.Image) -> Cell:
        """A photo, or an overlay on one."""
        return Cell(title, framed(scale_photo(picture, self.size)))

    def map(self, title: str, values: Map) -> Cell:
        """A map (h, w) in colours of its own range, which is written below."""
        low, high = value_range(values)
        rows, columns = values.shape
        picture = scale_labels(Image.fromarray(map_colors(values, low=low, high=high)), self.size)
        return Cell(title, framed(picture), f"{rows} x {columns} cells, {low:.3g} to {high:.3g}")

    def field(self, title: str, field: Field, *, limit: float) -> Cell:
        """An offset field in the colours of the wheel."""
        rows, columns = field.shape[1:]
        lengths = np.hypot(*field)
        caption = f"{rows} x {columns} cells, mean {lengths.mean():.2g}, at most {lengths.max():.2g}"
        return Cell(title, framed(scale_labels(Image.fromarray(field_colors(field, limit=limit)), self.size)), caption)

    def both(self, name: str, field: Field, *, limit: float) -> list[Cell]:
        """The offset field of the map ``name``, in colours and as arrows."""
        title = f"offset of the {name}"
        return [self.field(title, field, limit=limit), self.arrows(title, field, limit=limit)]

    def arrows(self, title: str, field: Field, *, limit: float) -> Cell:
        """The same as arrows over the image."""
        picture, factor = field_arrows(self.image, field, limit=limit, size=self.size)
        scale = f"arrows {factor:.1f} times as long as the offsets" if limit > 0 else "no offset: all are zero"
        return Cell(title, framed(picture), scale)


def alignment_figure(
    title: str, *, image: Pixels, rows: Sequence[tuple[Mapping[str, Map], Mapping[str, Field]]]
) -> Image.Image:
    """Rows of maps, each with its fields behind, in colours and as arrows; the image ends the last row.

    Args:
        title: of the figure.
        image: uint8 (H, W, 3).
        rows: maps, name -> (h, w), and fields, which map is moved -> (2, h, w), see :mod:`featalign.figures.fields`.
            All fields have one scale.
    """
    gallery = Gallery.of(image)
    fields = {name: values for _, row in rows for name, values in row.items()}
    limit = longest(fields.values())
    cells = [
        [gallery.map(name, values) for name, values in maps.items()]
        + [cell for name, values in moved.items() for cell in gallery.both(name, values, limit=limit)]
        for maps, moved in rows
    ]
    cells[-1].append(gallery.photo("image", Image.fromarray(image)))
    return page(title, cells, field_key(_explain(fields, limit, image), text=TEXT) if fields else None)


def page(title: str, rows: Sequence[Sequence[Cell]], key: Image.Image | None = None) -> Image.Image:
    """Rows of cells of one size under a heading, with a key below."""
    width, height = rows[0][0].picture.size
    step = round(1.9 * TITLE) + height + round(1.8 * TEXT) + GAP
    body = max(len(row) for row in rows) * (width + GAP) - GAP
    inner = max(body, key.width if key else 0, round(font(HEADING).getlength(title)))
    top = 2 * HEADING + MARGIN // 2
    bottom = top + len(rows) * step - GAP
    canvas = Image.new("RGB", (inner + 2 * MARGIN, bottom + (key.height + GAP if key else 0) + MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, top - HEADING), title, fill=INK, font=font(HEADING), anchor="lm")
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            _place(canvas, draw, cell, (MARGIN + j * (width + GAP), top + i * step))
    if key:
        canvas.paste(key, (MARGIN, bottom + GAP))
    return canvas


def map_colors(values: Map, *, low: float, high: float) -> Pixels:
    """A map (h, w) as uint8 (h, w, 3), dark at ``low`` to bright at ``high``."""
    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * (len(_RAMP) - 1)
    places = np.arange(len(_RAMP))
    return np.stack([np.interp(share, places, _RAMP[:, i]) for i in range(3)], -1).round().astype(np.uint8)


def value_range(values: Map) -> tuple[float, float]:
    """The 1st and 99th percentiles: the outermost cells, which see the padding, would else decide the colours."""
    low, high = np.percentile(values, (1, 99))
    return float(low), float(high)


def _place(canvas: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, corner: tuple[int, int]) -> None:
    left, top = corner
    width, height = cell.picture.size
    head = round(1.9 * TITLE)
    write_centered(draw, (left + width / 2, top + head / 2), cell.title, size=TITLE, width=width)
    canvas.paste(cell.picture, (left, top + head))
    below = top + head + height + 0.9 * TEXT
    write_centered(draw, (left + width / 2, below), cell.caption, size=TEXT, width=width)


def _explain(fields: Mapping[str, Field], limit: float, image: Pixels) -> list[str]:
    """What colours and arrows mean, with the scale in cells and in pixels of the image."""
    first = "Colour and arrow: the direction in which a cell looks for its value."
    if limit == 0:
        return [first, "All offsets are zero: nothing is moved, as before training."]
    pitch = {image.shape[1] / field.shape[2] for field in fields.values()}
    pixels = " or ".join(f"{limit * cells:.3g}" for cells in sorted(pitch))
    return [first, f"Full colour: {limit:.3g} cells, which is {pixels} pixels of the image, or more. White: no offset."]
