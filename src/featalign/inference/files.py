"""Predictions as files: labels, overlays, probabilities; each complete or absent."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featalign.data import Progress, silent
from featalign.errors import DataError, FeatalignError
from featalign.figures import overlay, palette_image
from featalign.files import write_atomically
from featalign.inference.predictor import Prediction, Predictor, Size

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})


def collect_images(sources: Sequence[Path]) -> list[Path]:
    """The image files among ``sources``; a folder stands for the images in it.

    Raises:
        DataError: if a source does not exist, a folder holds no image, or two images would get the same name.
    """
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = sorted(path for path in source.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise DataError(f"{source}: holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
            found += inside
        elif source.exists():
            found.append(source)
        else:
            raise DataError(f"{source}: no such file or folder")
    by_stem: dict[str, Path] = {}
    for path in found:
        other = by_stem.setdefault(path.stem, path)
        if other is not path:
            raise DataError(f"{other} and {path} would both be written as {path.stem}.png; give them in separate calls")
    return found


def predict_files(
    predictor: Predictor,
    images: Sequence[Path],
    out: Path,
    *,
    size: Size | None = None,
    input_size: Size | None = None,
    probabilities: bool = False,
    progress: Progress = silent,
) -> dict[Path, str]:
    """Segment ``images`` into ``out``: labels/NAME.png (palette, pixel = class id), overlays/NAME.png (image,
    colours, legend) and, if asked for, probabilities/NAME.npz (float16 ``probabilities`` (K, h, w) and ``classes``).

    One bad image does not stop the others.

    Returns:
        The images that failed, with the reason.

    Raises:
        FeatalignError: if ``out`` cannot be written.
    """
    failures: dict[Path, str] = {}
    for path in progress(images, total=len(images), description="predicting"):
        try:
            pixels = predictor.read(path)
        except DataError as error:
            failures[path] = str(error)
            continue
        prediction = predictor(pixels, size=size, input_size=input_size, probabilities=probabilities)
        _write(prediction, pixels, out, path.stem)
    return failures


def _write(prediction: Prediction, pixels: NDArray[np.uint8], out: Path, name: str) -> None:
    labels, classes = prediction.labels, prediction.classes
    if len(classes) > 256:
        raise FeatalignError(
            f"a palette image holds at most 256 classes, the model has {len(classes)}; use Predictor in Python"
        )
    write_atomically(out / "labels" / f"{name}.png", _png(palette_image(labels, classes)))
    write_atomically(out / "overlays" / f"{name}.png", _png(overlay(as_rgb(pixels, labels.shape), labels, classes)))
    if prediction.probabilities is not None:
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, probabilities=prediction.probabilities.astype(np.float16), classes=np.array(classes.names)
        )
        write_atomically(out / "probabilities" / f"{name}.npz", buffer.getvalue())


def as_rgb(pixels: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Something to lay colours over, whatever the channels: the first three, or grey; at the size of the labels."""
    rgb = pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)
    if rgb.shape[:2] == shape:
        return rgb
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
