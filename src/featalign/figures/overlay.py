"""Labels laid over their image."""

from __future__ import annotations

from PIL import Image

from featalign.figures.drawing import PAPER, Legend, display_size, scale_labels, scale_photo
from featalign.figures.palette import Labels, Pixels, check_image, check_labels, colorize, occurring
from featalign.spec import Classes


def overlay(image: Pixels, labels: Labels, classes: Classes, *, alpha: float = 0.5, legend: bool = True) -> Image.Image:
    """The image tinted with its classes' colours; beside it, on white, the names of the classes that occur.

    Args:
        image: uint8 (H, W, 3).
        labels: class ids (H, W), or the classes' ignore index.
        alpha: share of the classes' colours, 0 (the image alone) to 1 (the colours alone).
        legend: without it the result has exactly the image's size; with it, images smaller than 320 pixels are
            enlarged by a whole factor, so that the names can be read.

    Raises:
        ValueError: if the sizes differ, an id is not one of the classes, or alpha is outside 0 … 1.
    """
    image = check_image(image)
    labels = check_labels("labels", labels, classes, image.shape[:2])
    if not 0 <= alpha <= 1:
        raise ValueError(f"got alpha={alpha}; expected 0 (image alone) to 1 (colours alone)")
    photo, colors = Image.fromarray(image), Image.fromarray(colorize(labels, classes))
    if not legend:
        return Image.blend(photo, colors, alpha)
    size = display_size(labels.shape, smallest=320, largest=max(labels.shape))
    tinted = Image.blend(scale_photo(photo, size), scale_labels(colors, size), alpha)
    return _beside(tinted, Legend(occurring(classes, labels), text=max(15, round(max(size) / 45))))


def _beside(picture: Image.Image, legend: Legend) -> Image.Image:
    margin = legend.text
    names = legend.columns(picture.height - 2 * margin)
    height = max(picture.height, names.height + 2 * margin)
    canvas = Image.new("RGB", (picture.width + names.width + 2 * margin, height), PAPER)
    canvas.paste(picture, (0, 0))
    canvas.paste(names, (picture.width + margin, margin))
    return canvas
