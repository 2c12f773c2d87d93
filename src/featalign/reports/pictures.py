"""Images of a report: read again and predicted again, drawn side by side, and written into the page itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from featalign.data import Sample, SegmentationDataset
from featalign.errors import DataError
from featalign.figures import overlay
from featalign.figures.differences import Box
from featalign.figures.drawing import display_size, scale_labels, scale_photo
from featalign.figures.palette import Labels, Pixels
from featalign.inference import Predictor
from featalign.inference.network import Size
from featalign.inference.photo import as_rgb
from featalign.reports.markup import Html, joined, tag
from featalign.spec import Classes, Color

LARGEST, SMALLEST, QUALITY = 480, 240, 85
"""Longer side of a picture in pixels, and the quality of its JPEG: some 30 to 60 kB each."""


@dataclass(frozen=True)
class Rerun:
    """A run that predicts again: on the data as its model reads it, images resized to ``input_size`` before."""

    predictor: Predictor
    samples: SegmentationDataset
    input_size: Size | None = None


@dataclass(frozen=True)
class Example:
    """One image of the data: uint8 (H, W, 3), its truth and what was predicted for it, class ids (H, W)."""

    name: str
    image: Pixels
    truth: Labels
    predictions: tuple[Labels, ...]


def examples(names: Iterable[str], reruns: Sequence[Rerun]) -> Iterator[Example]:
    """The images of these names, one at a time, predicted by all; shown as the first reads them.

    Raises:
        DataError: if the data has no image of that name.
    """
    places = {sample.name: index for index, sample in enumerate(reruns[0].samples.samples)}
    for name in names:
        if name not in places:
            raise DataError(f'the data has no image "{name}"; give the data and the split that were scored')
        read = [rerun.samples[places[name]] for rerun in reruns]
        truth = read[0]["mask"].numpy()
        answers = (_predicted(rerun, sample, truth.shape) for rerun, sample in zip(reruns, read, strict=True))
        image = as_rgb(read[0]["image"].permute(1, 2, 0).numpy(), truth.shape)
        yield Example(name, image, truth, tuple(answers))


def _predicted(rerun: Rerun, sample: Sample, shape: tuple[int, ...]) -> Labels:
    size = (shape[0], shape[1])
    found = rerun.predictor.labels(sample["image"][None], size=size, input_size=rerun.input_size)
    return np.asarray(found[0].cpu().numpy())


@dataclass(frozen=True)
class Frame:
    """A box around a part of a picture, in its pixels, with a number, in the colour of a run: ``a`` or ``b``."""

    box: Box
    run: str
    number: int


def photo(image: Pixels, caption: str, *, frames: Sequence[Frame] = ()) -> Html:
    """A photo as a figure."""
    picture = scale_photo(Image.fromarray(image), _display(image.shape))
    return _figure(picture, caption, frames, image.shape)


def tinted(image: Pixels, labels: Labels, classes: Classes, caption: str, *, frames: Sequence[Frame] = ()) -> Html:
    """An image in the colours of its classes."""
    return drawn(np.asarray(overlay(image, labels, classes, alpha=0.6, legend=False)), caption, frames=frames)


def drawn(pixels: Pixels, caption: str, *, frames: Sequence[Frame] = ()) -> Html:
    """A drawing, uint8 (H, W, 3), whose thin things must not vanish."""
    picture = scale_labels(Image.fromarray(pixels), _display(pixels.shape))
    return _figure(picture, caption, frames, pixels.shape)


def legend(entries: Iterable[tuple[Color, str]]) -> Html:
    """Colours and what they mean."""
    items = (
        tag("li", tag("span", class_="swatch", style="background:rgb({},{},{})".format(*color)), name)
        for color, name in entries
    )
    return tag("ul", *items, class_="legend")


def row(panels: Sequence[Html]) -> Html:
    """Figures beside one another."""
    return tag("div", *panels, class_="panels", style=f"grid-template-columns:repeat({len(panels)},1fr)")


def _figure(picture: Image.Image, caption: str, frames: Sequence[Frame], shape: tuple[int, ...]) -> Html:
    image = tag("img", src=data_uri(picture), alt=caption, width=picture.width, height=picture.height)
    marks = [_frames(frames, shape)] if frames else []
    return tag("figure", tag("div", image, *marks, class_="picture"), tag("figcaption", caption))


def data_uri(picture: Image.Image) -> str:
    """The picture itself as an address. Full colour resolution: errors are thin lines of red and blue."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="JPEG", quality=QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _frames(frames: Sequence[Frame], shape: tuple[int, ...]) -> Html:
    """Drawn over the picture by the browser, in the picture's own pixels; the numbers at the boxes' corners."""
    height, width = shape[:2]
    boxes, numbers = [], []
    for frame in frames:
        left, top, right, bottom = frame.box
        place = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        boxes += [tag("rect", **place, class_="halo"), tag("rect", **place, class_=f"frame {frame.run}")]
        corner = f"left:{100 * left / width:.2f}%;top:{100 * top / height:.2f}%"
        numbers.append(tag("span", str(frame.number), class_=f"number {frame.run}", style=corner))
    drawing = tag("svg", *boxes, viewBox=f"0 0 {width} {height}", preserveAspectRatio="none", aria_hidden="true")
    return joined([drawing, *numbers])


def _display(shape: tuple[int, ...]) -> tuple[int, int]:
    """(width, height) to show pixels of (height, width) at."""
    return display_size((shape[0], shape[1]), smallest=SMALLEST, largest=LARGEST)
