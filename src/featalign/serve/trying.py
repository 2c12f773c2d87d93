"""What the page to try a service does, apart from how it looks."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from featalign.figures import colorize, overlay
from featalign.figures.drawing import display_size, scale_labels, scale_photo
from featalign.inference.photo import as_rgb
from featalign.serve.answered import Segmented
from featalign.serve.answers import ClassShare, labels_png, png, shares
from featalign.serve.networks import Pixels
from featalign.serve.problems import RequestError, UnknownError
from featalign.serve.question import Question
from featalign.serve.service import Service
from featalign.spec import Classes

LARGEST_PICTURE = 4096
"""Longer sides are shown reduced; the file to download is not."""
_CROP = 40


@dataclass(frozen=True)
class Shown:
    """One model's answer, for eyes: the image itself and the segmentation, of one size; the label file."""

    photo: Image.Image
    picture: Image.Image
    labels: bytes
    shares: list[ClassShare]
    size: tuple[int, int]
    classes: Classes


def parse_resolution(text: str, image: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of ``2 ×`` the image's, or of ``HEIGHTxWIDTH``. Raises RequestError."""
    text = text.strip().lower().replace("×", "x")
    if factor := re.fullmatch(r"(\d{1,5}(?:\.\d+)?|\.\d+)\s*x", text):
        return max(1, round(image[0] * float(factor[1]))), max(1, round(image[1] * float(factor[1])))
    if size := re.fullmatch(r"([1-9]\d{0,4})\s*x\s*([1-9]\d{0,4})", text):
        return int(size[1]), int(size[2])
    raise RequestError(f'resolution: expected a factor like "2 ×", or HEIGHTxWIDTH like 1080x1920, got "{text}"')


async def segment(service: Service, data: bytes, question: Question, *, model: str, tint: float) -> Shown:
    """The answer of ``model`` with ``tint`` of the classes' colours. Raises RequestError."""
    return await service.segment(data, question, partial(_shown, tint=tint), model=model)


def _shown(answer: Segmented, *, tint: float) -> Shown:
    size = display_size(answer.labels.shape, smallest=1, largest=LARGEST_PICTURE)
    shape = answer.labels.shape
    photo = as_rgb(answer.pixels, shape)
    tinted = overlay(photo, answer.labels, answer.classes, alpha=tint, legend=False)
    if tint == 1:
        tinted = scale_labels(Image.fromarray(colorize(answer.labels, answer.classes)), size)
    return Shown(
        photo=scale_photo(Image.fromarray(np.ascontiguousarray(photo)), size),
        picture=scale_photo(tinted, size) if tint < 1 else tinted,
        labels=labels_png(answer),
        shares=shares(answer),
        size=(shape[0], shape[1]),
        classes=answer.classes,
    )


@dataclass
class KeptImages:
    """Ids under which one visitor's image is kept, by model."""

    ids: dict[str, str]

    async def ask(self, service: Service, data: bytes, place: tuple[int, int], *, model: str) -> dict[str, float]:
        """Probabilities by class at the pixel ``place`` (x, y). Raises RequestError."""
        try:
            return await self._ask(service, place, model=model)
        except UnknownError:
            self.ids[model], _ = await service.keep(data, Question(), model=model)
            return await self._ask(service, place, model=model)

    async def _ask(self, service: Service, place: tuple[int, int], *, model: str) -> dict[str, float]:
        name = self.ids.get(model, "")
        height, width = service.sessions.get(name).size
        kept, found = await service.query(name, [((place[0] + 0.5) / width, (place[1] + 0.5) / height)])
        names = service.models[kept.model].model.classes.names
        return {name: float(value) for name, value in zip(names, found[0], strict=True)}


def legend_html(found: Sequence[ClassShare], classes: Classes, title: str) -> str:
    """Colours, names and shares of the classes that occur."""
    rows = "".join(
        f'<div class="fa-row"><span class="fa-swatch" style="background:rgb{classes.colors[share.id]}"></span>'
        f'<span class="fa-name">{html.escape(share.name)}</span>'
        f'<span class="fa-bar"><i style="width:{100 * share.share:.1f}%;background:rgb{classes.colors[share.id]}"></i>'
        f'</span><span class="fa-share">{_percent(share.share)}</span></div>'
        for share in found
    )
    return f'<div class="fa-legend"><div class="fa-title">{html.escape(title)}</div>{rows}</div>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 else "&lt; 0.1 %"


def crop_html(pixels: Pixels, place: tuple[int, int]) -> str:
    """What lies around a pixel (x, y), enlarged, with the pixel marked."""
    x, y = place
    photo = Image.fromarray(np.ascontiguousarray(as_rgb(pixels, pixels.shape[:2])))
    part = photo.crop((x - _CROP // 2, y - _CROP // 2, x + _CROP // 2 + 1, y + _CROP // 2 + 1))
    zoom = 4
    part = part.resize((part.width * zoom, part.height * zoom), Image.Resampling.NEAREST)
    corner = _CROP // 2 * zoom
    draw = ImageDraw.Draw(part)
    draw.rectangle((corner - 2, corner - 2, corner + zoom + 1, corner + zoom + 1), outline=(0, 0, 0), width=1)
    draw.rectangle((corner - 1, corner - 1, corner + zoom, corner + zoom), outline=(255, 255, 255), width=1)
    code = base64.b64encode(png(part)).decode()
    return f'<div class="fa-crop"><img alt="around the point" src="data:image/png;base64,{code}"><br>x {x}, y {y}</div>'
