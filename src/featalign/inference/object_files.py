"""Found objects and segments as files: many images, in shards, going on after an interruption."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featalign.data import DEFAULT_MAX_PIXELS, Progress, silent
from featalign.errors import DataError
from featalign.files import write_atomically
from featalign.inference.failures import Failures, memory_named
from featalign.inference.listing import Shard
from featalign.inference.objects import Objects, as_image
from featalign.inference.outputs import Outputs
from featalign.inference.panoptic import Segments, find
from featalign.inference.photo import as_rgb
from featalign.inference.settings import digest_of
from featalign.models import Detector

THRESHOLD = 0.5


def predict_object_files(
    model: Detector,
    images: Sequence[Path],
    out: Path,
    *,
    threshold: float = THRESHOLD,
    device: str = "auto",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    shard: Shard | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> dict[Path, str]:
    """Find what is in ``images`` and write it to ``out``.

    Of detectors: objects/NAME.json, of panoptic networks: segments/NAME.json and NAME.png, in COCO's form, categories
    by number and name, with ``made_by``, a mark of the settings and the image; and overlays/NAME.png. One bad image
    does not stop the others: failures.jsonl has the reasons.

    Args:
        model: moved to the device.
        images: all of them, whatever the shard.
        out: the folder.
        threshold: least score of an object that is kept; a panoptic network decides by itself.
        device, max_pixels: as for :func:`~featalign.inference.detect`.
        shard: only the images of this part.
        resume: leave out the images whose files are complete.
        progress: shows how far the loop is.

    Returns:
        The images that failed, with the reason.

    Raises:
        FeatalignError: if ``out`` cannot be written; with ``shard`` or ``resume`` if it holds results of other
            settings.
    """
    settings = {
        "detector": model.config,
        "model": digest_of(model),
        "classes": list(model.classes.names),
        "threshold": threshold,
    }
    outputs = Outputs(out, settings)
    outputs.claim(join=resume or shard is not None)
    failures = Failures(out, shard)
    writer = _Writer(model, outputs, threshold, device, max_pixels)
    mine = shard.of(images) if shard else images
    for path in progress(mine, total=len(mine), description="predicting"):
        if resume and writer.complete(path):
            continue
        try:
            with memory_named(path, advice="a smaller image, or a network of fewer detections, takes less"):
                writer.write(path)
        except DataError as error:
            failures.add(path, str(error))
    return failures.reasons


@dataclass(frozen=True)
class _Writer:
    model: Detector
    outputs: Outputs
    threshold: float
    device: str
    max_pixels: int

    def complete(self, image: Path) -> bool:
        """Whether all files of the image are there, made of it with these settings; the JSON file is written last."""
        for kind, pictures in (("objects", ()), ("segments", (self._path("segments", image, ".png"),))):
            try:
                content = json.loads(self._path(kind, image, ".json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if content.get("made_by") == self.outputs.mark(image):
                return all(path.is_file() for path in (self.outputs.overlay(image), *pictures))
        return False

    def write(self, image: Path) -> None:
        pixels = as_image(self.model, image, max_pixels=self.max_pixels).permute(1, 2, 0).numpy()
        found = find(self.model, pixels, threshold=self.threshold, device=self.device)
        photo = np.ascontiguousarray(as_rgb(pixels, (pixels.shape[0], pixels.shape[1])))
        write_atomically(self.outputs.overlay(image), _png(found.overlay(photo)))
        if isinstance(found, Segments):
            write_atomically(self._path("segments", image, ".png"), _png(found.to_png()))
        kind, rows = _rows(found)
        named = [{**row, "category": found.classes.names[row["category_id"] - 1]} for row in rows]
        height, width = pixels.shape[:2]
        content = {"image": image.name, "height": height, "width": width, kind: named}
        content["made_by"] = self.outputs.mark(image)
        write_atomically(self._path(kind, image, ".json"), json.dumps(content, indent=1) + "\n")

    def _path(self, kind: str, image: Path, suffix: str) -> Path:
        return self.outputs.folder / kind / f"{image.stem}{suffix}"


def _rows(found: Objects | Segments) -> tuple[str, list[dict[str, Any]]]:
    """The folder, and COCO's rows but for the number of the image, which no image here has."""
    if isinstance(found, Segments):
        return "segments", found.to_coco(image_id=0, file_name="")["segments_info"]
    rows = found.to_coco(image_id=0)
    return "objects", [{name: value for name, value in row.items() if name != "image_id"} for row in rows]


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
