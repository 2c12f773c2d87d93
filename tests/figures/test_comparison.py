from __future__ import annotations

import numpy as np
import pytest

from featalign.figures import VOID_COLOR, comparison
from featalign.figures.differences import BLUE, PURPLE, RED
from featalign.spec import Classes

CLASSES = Classes.named(["sky", "road", "pole", "never seen"])


def make_maps(height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """A photo, a truth of two halves with a void corner, and two predictions that miss the edge on either side."""
    image = np.random.default_rng(0).integers(0, 200, (height, width, 3), dtype=np.uint8)
    truth = np.zeros((height, width), dtype=np.int64)
    truth[:, width // 2 :] = 1
    left, right = np.roll(truth, -3, axis=1), np.roll(truth, 2, axis=1)
    truth[:8, :8] = 255
    return image, truth, {"left": left, "right": right}


def colors_in(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(color) for color in picture.reshape(-1, 3).tolist()}


def test_figure_shows_everything_on_white() -> None:
    image, truth, predictions = make_maps()
    picture = np.asarray(comparison(image=image, truth=truth, predictions=predictions, classes=CLASSES))
    colors = colors_in(picture)
    assert {CLASSES.colors[0], CLASSES.colors[1], VOID_COLOR, RED, BLUE} <= colors
    assert CLASSES.colors[3] not in colors
    edges = np.concatenate([picture[:8].reshape(-1, 3), picture[-8:].reshape(-1, 3), picture[:, :8].reshape(-1, 3)])
    assert (edges == 255).all()


def test_panels_stand_side_by_side_and_zoom_adds_a_row() -> None:
    image, truth, predictions = make_maps()
    options = {"image": image, "truth": truth, "classes": CLASSES}
    two = comparison(predictions=predictions, zoom=False, **options)
    one = comparison(predictions={"left": predictions["left"]}, zoom=False, **options)
    zoomed = comparison(predictions=predictions, **options)
    assert two.width - one.width == 64 * 5 + 14  # one panel more, enlarged five times, and a gap
    assert zoomed.height - two.height == 48 * 5 + 14
    assert zoomed.width == two.width


def test_without_errors_there_is_nothing_to_enlarge() -> None:
    image, truth, _ = make_maps()
    perfect = {"left": np.where(truth == 255, 2, truth)}
    with_zoom = comparison(image=image, truth=truth, predictions=perfect, classes=CLASSES)
    without = comparison(image=image, truth=truth, predictions=perfect, classes=CLASSES, zoom=False)
    assert with_zoom.size == without.size


@pytest.mark.parametrize(("size", "panel"), [((1500, 3000), 640), ((5, 9), 324), ((1, 1), 320), ((400, 300), 300)])
def test_panels_of_any_size(size: tuple[int, int], panel: int) -> None:
    labels = np.zeros(size, dtype=np.uint8)
    labels[size[0] // 2 :] = 1
    image = np.zeros((*size, 3), dtype=np.uint8)
    figure = comparison(image=image, truth=labels, predictions={"none": labels * 0}, classes=CLASSES)
    assert figure.width == 4 * panel + 3 * 14 + 2 * 28


def test_key_for_both_wrong() -> None:
    image, truth, predictions = make_maps()
    same = {"a": predictions["left"], "b": predictions["left"]}
    picture = np.asarray(comparison(image=image, truth=truth, predictions=same, classes=CLASSES))
    panel = picture[:, -28 - 64 * 5 : -28]
    assert PURPLE in colors_in(panel) and RED not in colors_in(panel)


def test_wrong_input() -> None:
    image, truth, predictions = make_maps()
    with pytest.raises(ValueError, match="at least one"):
        comparison(image=image, truth=truth, predictions={}, classes=CLASSES)
    with pytest.raises(ValueError, match="none of them called truth"):
        comparison(image=image, truth=truth, predictions={"truth": truth}, classes=CLASSES)
    with pytest.raises(ValueError, match=r"right of size \(48, 63\) for an image of \(48, 64\)"):
        wrong = predictions | {"right": predictions["right"][:, :-1]}
        comparison(image=image, truth=truth, predictions=wrong, classes=CLASSES)
    with pytest.raises(ValueError, match=r"truth has ids \[7\]"):
        comparison(image=image, truth=np.full_like(truth, 7), predictions=predictions, classes=CLASSES)
