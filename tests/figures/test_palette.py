from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from featalign.figures import VOID_COLOR, colorize, palette_image
from featalign.spec import Classes

CLASSES = Classes(("sky", "road", "pole"), ((10, 20, 30), (40, 50, 60), (70, 80, 90)))


def make_labels() -> np.ndarray:
    return np.array([[0, 1, 2], [255, 2, 0]])


def test_palette_image_survives_its_file() -> None:
    stream = io.BytesIO()
    palette_image(make_labels(), CLASSES).save(stream, format="png")
    image = Image.open(stream)
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), make_labels())
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), colorize(make_labels(), CLASSES))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_colorize_pixel_by_pixel(dtype: type) -> None:
    colors = colorize(make_labels().astype(dtype), CLASSES)
    for label, color in zip(make_labels().flat, colors.reshape(-1, 3).tolist(), strict=True):
        assert tuple(color) == (VOID_COLOR if label == 255 else CLASSES.colors[label])


def test_other_ignore_indices() -> None:
    classes = Classes(CLASSES.names, CLASSES.colors, ignore_index=-1)
    labels = np.array([[-1, 2]])
    assert colorize(labels, classes).tolist() == [[list(VOID_COLOR), [70, 80, 90]]]
    with pytest.raises(ValueError, match="got id -1"):
        palette_image(labels, classes)


def test_more_classes_than_a_byte_holds() -> None:
    classes = Classes.numbered(300)
    assert tuple(colorize(np.array([[299]]), classes)[0, 0]) == classes.colors[299]
    assert np.asarray(palette_image(np.array([[7]]), classes)).tolist() == [[7]]
    with pytest.raises(ValueError, match="got id 299"):
        palette_image(np.array([[299]]), classes)
    assert tuple(colorize(np.array([[255]], dtype=np.uint8), classes)[0, 0]) == VOID_COLOR


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[0, 3]]), r"ids \[3\]; expected 0 … 2, or 255"),
        (np.array([[-1, 0]]), r"ids \[-1\]"),
        (np.array([[0.0, 1.0]]), "integer class ids"),
        (np.zeros((2, 2, 1), dtype=int), r"\(height, width\)"),
    ],
)
def test_wrong_labels(labels: np.ndarray, message: str) -> None:
    for draw in (palette_image, colorize):
        with pytest.raises(ValueError, match=message):
            draw(labels, CLASSES)
