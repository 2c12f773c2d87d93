"""How a model aligns one image, as pictures: every step with its offset fields and feature maps, and an overview."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from featalign.data import DEFAULT_MAX_PIXELS
from featalign.errors import ConfigError
from featalign.figures import overlay
from featalign.figures.alignment import TEXT, Cell, Gallery, alignment_figure, page
from featalign.figures.fields import field_key, longest
from featalign.figures.palette import Pixels
from featalign.files import atomic_path
from featalign.inference.alignment import recording
from featalign.inference.network import Size
from featalign.inference.objects import answers, as_image
from featalign.inference.panoptic import understood
from featalign.inference.photo import as_rgb
from featalign.inference.predictor import Predictor, as_images
from featalign.inference.steps import Array, Recording, Step, channel_mean
from featalign.models import Detector, Segmentor


@dataclass(frozen=True)
class Answer:
    """A model's answer: its ``name``, drawn over the image with a legend, and without."""

    name: str
    drawn: Image.Image
    plain: Image.Image


@dataclass(frozen=True)
class Explanation:
    """How a model came to its answer for ``image``, uint8 (H, W, 3)."""

    image: Pixels
    answer: Answer
    input_size: Size
    """(height, width) of what the network saw."""
    recorded: Recording
    encoded: Array
    """The finest map that the answer is read from, by its mean over the channels."""

    @property
    def has_fields(self) -> bool:
        """Whether any step predicts where to look."""
        return any(step.fields for step in self.recorded.steps)

    def stride(self, size: tuple[int, ...]) -> int:
        """Pitch of a map of ``size`` (h, w) in pixels of the network's input: the power of two that fits best."""

        def misfit(stride: int) -> int:
            return sum(abs(-(-side // stride) - cells) for side, cells in zip(self.input_size, size, strict=True))

        return min((2**power for power in range(9)), key=misfit)

    def levels(self, step: Step) -> str:
        """The strides that a step brings together: ``32 to 16``, or ``4, 8, 16, 32``."""
        strides = [str(self.stride(size)) for size in step.entering]
        return (" to " if "coarse" in step.maps else ", ").join(strides)


def explain(
    predictor: Predictor, image: Path | str | NDArray[np.uint8], *, input_size: Size | None = None
) -> Explanation:
    """Segment an image and record every alignment on the way, on the grids that the network itself has.

    The network sees the image filled up at the right and below, and the pictures of maps show it so, too.

    Args:
        predictor: of any model; always in float32 here.
        image: a file, or uint8 (H, W, channels).
        input_size: resize the image to this before the network sees it.

    Raises:
        DataError: if the file cannot be used.
        ConfigError: for a network that was exported.
    """
    model = predictor.model
    if not isinstance(model, Segmentor):
        raise ConfigError("an exported network does not show how it aligns; explain the run that it was made from")
    pixels = image if isinstance(image, np.ndarray) else predictor.read(Path(image))
    labels = predictor(pixels, input_size=input_size).labels
    with torch.inference_mode(), recording(model) as recorded:
        features = model.encode(predictor.shown(as_images(pixels), input_size))
        model.answer_grid(features, None)
    photo = np.ascontiguousarray(as_rgb(pixels, labels.shape))
    size = [round(p * c / s) for p, c, s in zip(photo.shape, features.covered, features.size, strict=False)]
    with_legend = overlay(photo, labels, model.classes, legend=True)
    plain = Image.fromarray(_continued(np.asarray(overlay(photo, labels, model.classes, legend=False)), size))
    return Explanation(
        image=_continued(photo, size),
        answer=Answer("segmentation", with_legend, plain),
        input_size=features.covered,
        recorded=recorded,
        encoded=channel_mean(features.maps[0]),
    )


def explain_detector(
    model: Detector,
    image: Path | str | NDArray[np.uint8],
    *,
    device: str = "auto",
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Explanation:
    """The same of the pyramid of a detector or panoptic network.

    The network sees the image resized and filled up at the right and below; the pictures show it so, too.

    Raises:
        DataError: if the file cannot be used.
    """
    tensor = as_image(model, image, max_pixels=max_pixels)
    with recording(model) as recorded:
        (answer,) = answers(model, [tensor], device=device)
    batch, _ = model.network.get_submodule("transform")([tensor.float() / 255])
    seen = batch.tensors.shape[-2:]
    filled = [round(s * b / a) for s, a, b in zip(tensor.shape[1:], batch.image_sizes[0], seen, strict=True)]
    photo = np.ascontiguousarray(as_rgb(tensor.permute(1, 2, 0).numpy(), (tensor.shape[1], tensor.shape[2])))
    found = _filled(np.asarray(understood(model, answer).overlay(photo)), filled)
    return Explanation(
        image=_filled(photo, filled),
        answer=Answer("found", Image.fromarray(found), Image.fromarray(found)),
        input_size=(seen[0], seen[1]),
        recorded=recorded,
        encoded=recorded.steps[-1].out if recorded.steps else recorded.backbone[0],
    )


def _continued(photo: Pixels, size: Sequence[int]) -> Pixels:
    """With copies of its border pixels at the right and below, up to ``size``."""
    return np.pad(photo, [(0, side - own) for side, own in zip(size, photo.shape, strict=False)] + [(0, 0)], "edge")


def _filled(photo: Pixels, size: Sequence[int]) -> Pixels:
    """On a grey ground of ``size``, at the upper left."""
    canvas = np.full((*size, 3), 128, np.uint8)
    canvas[: photo.shape[0], : photo.shape[1]] = photo
    return canvas


def draw(explanation: Explanation) -> Iterator[tuple[str, Image.Image]]:
    """Names, without suffix, and pictures: the image, the answer, the overview, then the steps in order."""
    yield "image", Image.fromarray(explanation.image)
    yield explanation.answer.name, explanation.answer.drawn
    yield "overview", _overview(explanation)
    for number, step in enumerate(explanation.recorded.steps, start=1):
        levels = explanation.levels(step)
        slug = levels.replace(", ", "-").replace(" ", "-")
        figure = alignment_figure(
            f"{number}. stride {levels}: {step.module} ({step.kind})",
            image=explanation.image,
            rows=step.rows,
        )
        yield f"{number:02}-stride-{slug}-{step.module}", figure


def write_explanation(explanation: Explanation, out: Path) -> list[Path]:
    """The pictures of :func:`draw` as PNG files in ``out``. Raises FeatalignError if one cannot be written."""
    paths = []
    for name, picture in draw(explanation):
        paths.append(out / f"{name}.png")
        with atomic_path(paths[-1]) as temporary:
            picture.save(temporary)
    return paths


def _overview(explanation: Explanation) -> Image.Image:
    """The image and its answer, the backbone's maps, what each step makes of them, and its first field."""
    gallery, steps = Gallery.of(explanation.image), explanation.recorded.steps
    answer = explanation.answer
    encoded = _map(gallery, explanation, "encoded", explanation.encoded)
    rows = [
        [gallery.photo("image", Image.fromarray(explanation.image)), gallery.photo(answer.name, answer.plain), encoded],
        [_map(gallery, explanation, "backbone", values) for values in explanation.recorded.backbone],
        [_map(gallery, explanation, f"{i}. {step.kind}", step.out) for i, step in enumerate(steps, start=1)],
        [
            gallery.field(f"{i}. offset of the {name}", values, limit=longest([values]))
            for i, step in enumerate(steps, start=1)
            for name, values in list(step.fields.items())[:1]
        ],
    ]
    lines = [
        "Colour: the direction in which a cell looks for its value; full colour at the longest, white where it stays."
    ]
    key = field_key(lines, text=TEXT) if explanation.has_fields else None
    return page("How the levels are aligned", [row for row in rows if row], key)


def _map(gallery: Gallery, explanation: Explanation, title: str, values: Array) -> Cell:
    return gallery.map(f"{title}, stride {explanation.stride(values.shape)}", values)
