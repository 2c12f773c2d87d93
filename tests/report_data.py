"""A data set whose images show their truth, and networks that read it, but for a patch."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import one_hot

from featalign.data import SegmentationDataset, open_dataset
from featalign.inference import Evaluation, Predictor, evaluate
from featalign.reports import Rerun
from featalign.spec import Classes, Normalization

NAMES = ("sky & clouds", "<b>road</b>", '"car"')
IMAGES = ("a&b", "c<i>d", "e")
SIZE = (60, 80)
STEP = 100
PATCH = (40, 20, 52, 32)
"""(left, top, right, bottom) of what a :class:`Reader` may be blind to, in image ``e``."""

Box = tuple[int, int, int, int]


def draw_data(root: Path) -> Path:
    """A folder of three images: upper half class 0, lower half class 1, a patch of class 2 in the last one."""
    for part in ("images", "masks"):
        (root / "test" / part).mkdir(parents=True, exist_ok=True)
    (root / "classes.json").write_text(json.dumps(Classes.named(NAMES).to_json()))
    for name in IMAGES:
        mask = np.zeros(SIZE, dtype=np.uint8)
        mask[SIZE[0] // 2 :] = 1
        mask[:, 0] = 255
        left, top, right, bottom = PATCH
        if name == "e":
            mask[top:bottom, left:right] = 2
        Image.fromarray(np.where(mask == 255, 0, mask * STEP).astype(np.uint8)).convert("RGB").save(
            root / "test" / "images" / f"{name}.png"
        )
        Image.fromarray(mask).save(root / "test" / "masks" / f"{name}.png")
    return root


class Reader:
    """A network that tells classes by brightness; in ``blind`` it always says class 0."""

    classes, in_channels, normalization = Classes.named(NAMES), 3, Normalization((0.0,), (1.0,))

    def __init__(self, blind: Box | None = None) -> None:
        self.blind = blind

    def __call__(self, images: Tensor, size: tuple[int, int] | None = None, mode: str = "auto") -> Tensor:
        assert size in (None, tuple(images.shape[-2:]))
        labels = (images[:, 0] * 255 / STEP).round().long()
        if self.blind:
            left, top, right, bottom = self.blind
            labels[:, top:bottom, left:right] = 0
        return one_hot(labels, len(NAMES)).permute(0, 3, 1, 2).float()


def scored(root: Path, blind: Box | None = None, **options: object) -> tuple[Evaluation, Rerun]:
    """A reader's evaluation, and what asks it again."""
    samples: SegmentationDataset = open_dataset(root, "test")
    predictor = Predictor(Reader(blind), device="cpu")
    with torch.random.fork_rng():
        return evaluate(predictor, samples, boundary_widths=(2, 4), **options), Rerun(predictor, samples)  # type: ignore[arg-type]


class Parsed(HTMLParser):
    """A page taken apart: its elements, and its text; fails where elements are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, {key: value or "" for key, value in attributes}))
        if name not in ("img", "meta"):
            self._open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self._open.pop() == name

    def handle_data(self, text: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.text.append(text)

    def all(self, name: str, class_: str | None = None) -> list[dict[str, str]]:
        """The attributes of the elements of this name, and of all these classes."""
        wanted = set((class_ or "").split())
        return [found for tag, found in self.elements if tag == name and wanted <= set(found.get("class", "").split())]


def assert_self_contained(page: str) -> None:
    """Nothing is loaded: every address is data in the page itself."""
    parsed = Parsed(page)
    addresses = [value for _, found in parsed.elements for key, value in found.items() if key in ("src", "href")]
    assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
    assert "http:" not in page and "https:" not in page and "url(" not in page and "@import" not in page
    assert not {"link", "iframe", "object"} & {name for name, _ in parsed.elements}
