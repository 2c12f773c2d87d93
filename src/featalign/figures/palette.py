"""Class ids as colours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featalign.spec import Classes, Color

Labels = NDArray[np.integer]
Pixels = NDArray[np.uint8]

VOID_COLOR: Color = (34, 34, 38)
"""What ignored pixels look like: nearly black, as no class should be."""


def palette_image(labels: Labels, classes: Classes) -> Image.Image:
    """The label map as a palette image: its pixels are the class ids themselves, shown in the classes' colours.

    Raises:
        ValueError: if an id is not one of the classes or the ignore index, or does not fit into a byte.
    """
    labels = check_labels("labels", labels, classes)
    outside = labels[(labels < 0) | (labels > 255)]
    if outside.size:
        raise ValueError(f"got id {outside[0]}; a palette image holds ids 0 … 255 only")
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(classes)] = classes.colors[:256]
    if 0 <= classes.ignore_index <= 255:
        table[classes.ignore_index] = VOID_COLOR
    image = Image.fromarray(labels.astype(np.uint8), mode="P")
    image.putpalette(table.tobytes())
    return image


def label_image(labels: Labels, classes: Classes) -> Image.Image:
    """:func:`palette_image`, or beyond 256 classes a grey image of 16 bits whose pixels are the class ids."""
    return palette_image(labels, classes) if len(classes) <= 256 else Image.fromarray(labels.astype(np.uint16))


def colorize(labels: Labels, classes: Classes) -> Pixels:
    """The label map in colours, uint8 (H, W, 3); ignored pixels in ``VOID_COLOR``.

    Raises:
        ValueError: if an id is not one of the classes or the ignore index.
    """
    labels = check_labels("labels", labels, classes)
    table = np.array([*classes.colors, VOID_COLOR], dtype=np.uint8)
    return table[np.where(labels == classes.ignore_index, len(classes), labels)]


def occurring(classes: Classes, *maps: Labels) -> list[tuple[Color, str]]:
    """Colour and name of each class in any of the label maps, in the order of the ids, with "void" last."""
    ids = set().union(*(np.unique(labels).tolist() for labels in maps))
    entries = [(classes.colors[i], classes.names[i]) for i in sorted(ids - {classes.ignore_index})]
    return [*entries, (VOID_COLOR, "void")] if classes.ignore_index in ids else entries


def check_labels(name: str, labels: Labels, classes: Classes, size: tuple[int, ...] | None = None) -> Labels:
    """The labels as int64; raises ValueError unless they are ids of the classes, (H, W), of this size if given."""
    labels = np.asarray(labels)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"got {name} {labels.dtype} {labels.shape}; expected integer class ids (height, width)")
    if size is not None and labels.shape != size:
        raise ValueError(f"got {name} of size {labels.shape} for an image of {size}; resize one to the other's size")
    strays = labels[((labels < 0) | (labels >= len(classes))) & (labels != classes.ignore_index)]
    if strays.size:
        raise ValueError(
            f"{name} has ids {np.unique(strays)[:5].tolist()}; "
            f"expected 0 … {len(classes) - 1}, or {classes.ignore_index} for ignored pixels"
        )
    return labels.astype(np.int64, copy=False)


def check_image(image: Pixels) -> Pixels:
    """The image as an array; raises ValueError unless it is uint8 (H, W, 3) with at least one pixel."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"got image {image.dtype} {image.shape}; expected uint8 (height, width, 3)")
    return image
