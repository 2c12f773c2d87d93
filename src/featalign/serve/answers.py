"""Answers in the forms that are sent."""

from __future__ import annotations

import io
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import BaseModel, Field

from featalign.figures import overlay
from featalign.figures.palette import label_image
from featalign.figures.polygons import Polygon, polygons
from featalign.inference.photo import as_rgb
from featalign.serve.answered import Segmented
from featalign.serve.networks import Labels
from featalign.serve.problems import TooLargeError

Corner = Annotated[list[int], Field(min_length=2, max_length=2)]


class ClassShare(BaseModel):
    """How much of the answer one class covers."""

    id: int
    name: str
    share: float = Field(description="Of all pixels, 0 to 1.", ge=0, le=1)


class Region(BaseModel):
    """A connected region of one class. Corners are (x, y) in pixels of the answer, from the outer corner of its first
    pixel; outlines are not closed: the last corner is joined to the first."""

    class_id: int
    name: str
    area: int = Field(description="In pixels.")
    exterior: list[Corner] = Field(description="Clockwise as seen.")
    holes: list[list[Corner]] = Field(description="Anticlockwise.")


class Segmentation(BaseModel):
    """The answer in numbers."""

    model: str
    height: int
    width: int
    classes: list[ClassShare] = Field(description="Those that occur, the largest first.")
    polygons: list[Region] | None = Field(None, description="Largest first; null unless asked for.")


def labels_png(answer: Segmented) -> bytes:
    """Class ids as a palette PNG; beyond 256 classes as a grey one of 16 bits."""
    return png(label_image(answer.labels, answer.classes))


def overlay_png(answer: Segmented) -> bytes:
    """The image, at the answer's size, tinted with the classes' colours, with a legend."""
    rgb = as_rgb(answer.pixels, answer.labels.shape)
    return png(overlay(rgb, answer.labels, answer.classes), level=1)


def numbers(
    answer: Segmented, *, with_polygons: bool, tolerance: float, min_area: int, max_vertices: int
) -> Segmentation:
    """Shares and polygons. Raises TooLargeError for outlines of more than ``max_vertices`` corners."""
    height, width = answer.labels.shape
    found = None
    if with_polygons:
        found = _polygons(answer.labels, tolerance=tolerance, min_area=min_area, max_vertices=max_vertices)
    return Segmentation(
        model=answer.model,
        height=height,
        width=width,
        classes=shares(answer),
        polygons=None if found is None else [_region(polygon, answer.classes.names) for polygon in found],
    )


def shares(answer: Segmented) -> list[ClassShare]:
    """The classes that occur, largest first."""
    counts = np.bincount(answer.labels.ravel(), minlength=len(answer.classes))
    return [
        ClassShare(id=i, name=answer.classes.names[i], share=counts[i] / answer.labels.size)
        for i in np.argsort(-counts, kind="stable").tolist()
        if counts[i]
    ]


def _polygons(labels: Labels, *, tolerance: float, min_area: int, max_vertices: int) -> list[Polygon]:
    """Borders of very many pixels are noise, and not even traced."""
    borders = np.count_nonzero(labels[1:] != labels[:-1]) + np.count_nonzero(labels[:, 1:] != labels[:, :-1])
    if borders <= 10 * max_vertices:
        found = polygons(labels, tolerance=tolerance, min_area=min_area)
        if sum(len(ring) for polygon in found for ring in (polygon.exterior, *polygon.holes)) <= max_vertices:
            return found
    raise TooLargeError(
        f"the outlines have more than {max_vertices:,} corners; raise simplify or min_area, ask for a smaller size, or "
        "set polygons=false"
    )


def _region(polygon: Polygon, names: tuple[str, ...]) -> Region:
    return Region.model_construct(
        class_id=polygon.label,
        name=names[polygon.label],
        area=polygon.area,
        exterior=polygon.exterior.tolist(),
        holes=[hole.tolist() for hole in polygon.holes],
    )


def png(image: Image.Image, *, level: int = 6) -> bytes:
    """A picture as a PNG file; ``level`` of compression, 0 to 9."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=level)
    return buffer.getvalue()
