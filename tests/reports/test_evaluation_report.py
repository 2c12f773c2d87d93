"""The page of one evaluation says what the evaluation says, and stands alone."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from report_data import IMAGES, NAMES, PATCH, Parsed, assert_self_contained, draw_data, scored

from featalign.errors import DataError
from featalign.reports import Ranked, evaluation_report, examples
from featalign.reports.charts import confusion_map, curve
from featalign.reports.page import pairs
from featalign.reports.pictures import data_uri
from featalign.reports.ranking import confusions


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def found(data):
    return scored(data, PATCH, metrics=("boundary_iou", "boundary_f"))


@pytest.fixture(scope="module")
def page(found):
    evaluation, rerun = found
    ranked = Ranked.of(evaluation)
    worst, best = ranked.ends(1)
    return evaluation_report(
        evaluation,
        ranked,
        title="runs/<first>",
        settings={"split": "test", "flip": False, "window": None, "scales": [0.5, 1.0]},
        versions={"torch": "2.x"},
        worst=list(examples(worst, [rerun])),
        best=list(examples(best, [rerun])),
    )


def test_stands_alone_and_escapes(page):
    assert_self_contained(page)
    text = "".join(Parsed(page).text)
    for name in (*NAMES, *IMAGES, "runs/<first>"):
        assert name in text
    assert "<b>" not in page and "<i>" not in page and "<first>" not in page


def test_numbers_are_those_of_the_evaluation(page, found):
    evaluation, _ = found
    parsed = Parsed(page)
    values = [float(cell["data-value"]) for cell in parsed.all("td") if "data-value" in cell]
    classes, columns = len(NAMES), 4 + 2 + 2
    cells = np.array(values[: classes * columns]).reshape(classes, columns)
    expected = [
        evaluation.scores.iou,
        evaluation.boundary[2].iou,
        evaluation.boundary[4].iou,
        evaluation.metrics["boundary_iou"].by_class,
        evaluation.metrics["boundary_f"].by_class,
    ]
    for column, truth in zip((1, 4, 5, 6, 7), expected, strict=True):
        np.testing.assert_allclose(cells[:, column], np.nan_to_num(truth, nan=-1), atol=1e-6)
    labelled = evaluation.matrix.sum()
    np.testing.assert_allclose(cells[:, 0], (evaluation.matrix.sum(1) / labelled).numpy(), atol=1e-6)
    text = "".join(parsed.text)
    for value in (evaluation.scores.miou, evaluation.scores.pixel_accuracy, evaluation.scores.mean_accuracy):
        assert f"{100 * value:.2f} %" in text
    for word in ("0.5, 1", "2.x", "test split, 3 images, 3 classes", "flip", "no"):
        assert word in text


def test_pictures_show_the_errors(page):
    pictures = [image["src"].partition(",")[2] for image in Parsed(page).all("img")]
    assert len(pictures) == 8
    opened = [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))).astype(int) for one in pictures]
    assert all(one.shape == (180, 240, 3) for one in opened)
    red = [(one[..., 0] > 180) & (one[..., 1] < 90) & (one[..., 2] < 90) for one in opened]
    left, top, right, bottom = (3 * edge for edge in PATCH)
    inside = np.zeros((180, 240), dtype=bool)
    inside[top:bottom, left:right] = True
    assert red[3][inside].mean() > 0.95  # of the worst image, the patch and nothing else is wrong
    assert red[3][~inside].mean() < 0.02
    assert red[7].mean() < 0.35


def test_ranking(found):
    ranked = Ranked.of(found[0])
    assert ranked.names[0] == "e" and set(ranked.names) == set(IMAGES)
    assert ranked.ends(2) == (("e", "a&b"), ("c<i>d",))
    assert ranked.ends(0) == ((), ())
    left, top, right, bottom = PATCH
    area = (right - left) * (bottom - top)
    half = 30 * 79
    above = (30 - top) * (right - left)
    sky = (half - above) / (half - above + area)
    assert ranked.miou["e"] == pytest.approx((sky + 1 + 0) / 3)
    assert next(iter(ranked.to_json())) == "e"


def test_images_without_labels_are_in_no_list(found):
    evaluation = found[0]
    counts = evaluation.per_image.copy()
    counts[0] = 0
    ranked = Ranked.of(replace(evaluation, per_image=counts))
    assert evaluation.names[0] not in ranked.names and len(ranked.names) == 2


def test_confusions():
    matrix = torch.tensor([[5, 3, 0], [1, 9, 7], [0, 0, 0]])
    listed = [(c.truth, c.labelled, c.pixels) for c in confusions(matrix)]
    assert listed == [(1, 2, 7), (0, 1, 3), (1, 0, 1)]
    assert confusions(matrix)[0].share == pytest.approx(7 / 17)
    assert len(confusions(matrix, count=2)) == 2


def test_settings_are_said_plainly():
    settings = {"scales": [0.5, 1.0], "overlap": 1 / 3, "layout_options": [], "window": None, "flip": False}
    assert "".join(Parsed(pairs(settings)).text) == "scales0.5, 1overlap0.333333layout_options–window–flipno"


def test_a_matrix_of_many_classes_stays_small():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randint(0, 1000, (150, 150), generator=generator) + 100_000 * torch.eye(150, dtype=torch.int64)
    drawing = confusion_map(matrix, [f"class {i}" for i in range(150)])
    assert drawing.count("<rect") == int((matrix / matrix.sum(1, keepdim=True) >= 0.005).sum())
    assert len(drawing) < 1_000_000
    few = confusion_map(matrix[:3, :3], ["a", "b", "c"])
    assert few.count("<rect") == int((matrix[:3, :3] / matrix[:3, :3].sum(1, keepdim=True) >= 0.005).sum())


def test_there_is_room_for_names_of_square_signs():
    matrix = torch.tensor([[1]])
    around, name = 12, "道路と歩道"
    width = int(Parsed(confusion_map(matrix, [name])).all("svg")[0]["width"])
    assert width >= around + 12 * len(name) + int(Parsed(confusion_map(matrix, [""])).all("rect")[0]["width"])


def test_on_paper_a_page_keeps_its_colours_on_white(page):
    style = page[page.index("<style>") : page.index("</style>")]
    printed = style[style.index("@media print") :]
    assert "print-color-adjust: exact" in printed and "overflow: visible" in printed
    assert "@media screen and (prefers-color-scheme: dark)" in style


def test_what_is_too_wide_scrolls_or_breaks(page):
    parsed = Parsed(page)
    assert len(parsed.all("div", "wide")) == len(parsed.all("table")) + 2, "curve and matrix, too"
    legend = page[page.index(".legend {") :]
    assert "overflow-wrap: anywhere" in legend[: legend.index("}")]


def test_what_is_not_there_is_not_spoken_of(data):
    evaluation, _ = scored(data)
    bare = replace(evaluation, per_image_bands={})
    text = "".join(Parsed(evaluation_report(bare, Ranked.of(bare), title="t", settings={}, versions={})).text)
    assert "n px" not in text and "Most pixels confused" not in text


def test_a_curve_with_a_gap():
    drawing = curve({"A": [0.5, float("nan"), 0.7], "B": [0.6, 0.6, 0.6]}, ["2 px", "4 px", "all"], title="t")
    assert drawing.count("<circle") == 5 and "nan" not in drawing and drawing.count("<polyline") == 2


def test_an_image_that_is_not_there(found):
    with pytest.raises(DataError, match='no image "zebra"'):
        list(examples(["zebra"], [found[1]]))


def test_the_picture_of_pure_noise_is_written():
    noise = np.random.default_rng(0).integers(0, 256, (360, 480, 3), dtype=np.uint8)
    written = base64.b64decode(data_uri(Image.fromarray(noise)).removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(written)) as picture:
        assert picture.convert("RGB").size == (480, 360)
