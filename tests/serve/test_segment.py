"""Answers are the predictor's own, whatever the form and whoever else asks."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from serve.conftest import CLASSES, encoded, make_model

import featalign
from featalign.inference.live_memory import EncoderMemory
from featalign.serve.networks import Segment
from featalign.serve.question import Question


def labels_of(response) -> np.ndarray:
    assert response.status_code == 200, response.text
    image = Image.open(io.BytesIO(response.content))
    assert (image.format, image.mode) == ("PNG", "P")
    return np.asarray(image)


def agreement(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float((found == expected).mean())


def test_the_model_of_these_tests_says_more_than_one_thing(predictor, photo):
    assert len(np.unique(predictor(photo).labels)) >= 3


@pytest.mark.parametrize(
    ("parameters", "same"),
    [
        ({}, {}),
        ({"size": "30x20"}, {"size": (30, 20)}),
        ({"size": "96"}, {"size": (96, 96)}),
        ({"input_size": "32x48"}, {"input_size": (32, 48)}),
    ],
)
def test_labels(client, send, predictor, photo, parameters, same):
    np.testing.assert_array_equal(labels_of(send(client, **parameters)), predictor(photo, **same).labels)


def test_scales_and_flip(client, send, predictor, photo):
    asked = featalign.Predictor(predictor.model, device="cpu", scales=(0.5, 1.0), flip=True)
    found = labels_of(send(client, scales=[0.5, 1], flip=True))
    np.testing.assert_array_equal(found, asked(photo).labels)
    assert agreement(found, predictor(photo).labels) < 1


def test_what_an_image_takes_is_measured_once(predictor, photo, monkeypatch):
    sizes, measure = [], EncoderMemory._measure
    monkeypatch.setattr(EncoderMemory, "_measure", lambda self, *size: sizes.append(size) or measure(self, *size))
    served = Segment(featalign.Predictor(predictor.model, device="cpu", max_memory=2**30), Question())
    for _ in range(2):
        np.testing.assert_array_equal(served([photo])[0], predictor(photo).labels)
    assert sizes == [(64, 64)]


def test_the_palette_has_the_classes_colours(client, send, predictor):
    palette = Image.open(io.BytesIO(send(client).content)).getpalette()
    assert [tuple(palette[3 * i : 3 * i + 3]) for i in range(CLASSES)] == list(predictor.model.classes.colors)


def test_overlay(client, send):
    response = send(client, output="overlay", size="480x640")
    picture = Image.open(io.BytesIO(response.content))
    assert picture.mode == "RGB" and picture.height == 480 and picture.width > 640


def test_numbers(client, send, predictor, photo):
    answer = send(client, output="json").json()
    labels = predictor(photo).labels
    assert (answer["model"], answer["height"], answer["width"]) == ("small", 48, 64)
    shares = {row["id"]: row["share"] for row in answer["classes"]}
    assert shares == pytest.approx({i: (labels == i).mean() for i in np.unique(labels)})
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    areas = np.bincount([p["class_id"] for p in answer["polygons"]], [p["area"] for p in answer["polygons"]], CLASSES)
    np.testing.assert_array_equal(areas, np.bincount(labels.ravel(), minlength=CLASSES))
    assert send(client, output="json", polygons=False).json()["polygons"] is None


def test_polygons_can_be_fewer(client, send):
    def corners(**parameters):
        found = send(client, output="json", **parameters).json()["polygons"]
        return sum(len(p["exterior"]) for p in found), min(p["area"] for p in found)

    exact, simple = corners(), corners(simplify=2, min_area=10)
    assert simple[0] < exact[0] and simple[1] >= 10


def test_outlines_of_too_many_corners_are_refused(serve, send):
    response = send(serve(max_vertices=8), output="json")
    assert response.status_code == 413 and "simplify" in response.json()["detail"]


def test_min_area_may_leave_nothing(client, send):
    assert send(client, output="json", min_area=10**6).json()["polygons"] == []


def test_models_by_name(serve, send, predictor, photo):
    other = featalign.Predictor(make_model(1), device="cpu")
    client = serve({"small": predictor, "other": other})
    assert [model["name"] for model in client.get("/v1/models").json()] == ["small", "other"]
    np.testing.assert_array_equal(labels_of(send(client, model="other")), other(photo).labels)
    response = send(client, model="othr")
    assert response.status_code == 404 and 'did you mean "other"?' in response.json()["detail"]


def test_images_of_other_channels_are_arrays(serve, send):
    predictor = featalign.Predictor(make_model(0, in_channels=6), device="cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 6), dtype=np.uint8)
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    client = serve({"six": predictor})
    np.testing.assert_array_equal(labels_of(send(client, image=buffer.getvalue())), predictor(pixels).labels)
    assert send(client, output="overlay", image=buffer.getvalue()).status_code == 200
    assert send(client).status_code == 415


def test_many_at_once_get_each_its_own_answer(serve, predictor):
    rng = np.random.default_rng(1)
    photos = [
        np.array(Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((56, 40 + 8 * (i % 2))))
        for i in range(16)
    ]
    client = serve(batch_wait=0.05)

    def ask(photo):
        return client.post("/v1/segment", files={"image": encoded(photo)})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, photos))
    for photo, answer in zip(photos, answers, strict=True):
        assert agreement(labels_of(answer), predictor(photo).labels) > 0.995  # sums in batches round differently
    batches = client.app.state.service.metrics.batches
    assert batches._sum.get() == 16 + 1  # the trial at the start
    assert sum(bucket.get() for bucket in batches._buckets) < 16


def test_an_image_turned_by_exif_is_answered_upright(client, send, predictor, photo):
    exif = Image.Exif()
    exif[274] = 6
    turned = encoded(photo, exif=exif)
    np.testing.assert_array_equal(labels_of(send(client, image=turned)), predictor(np.rot90(photo, -1).copy()).labels)
