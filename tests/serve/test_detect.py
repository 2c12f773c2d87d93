"""What is found, in numbers and in pictures, is what `find` says."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from serve.conftest import encoded
from starlette.testclient import TestClient

from featalign.data.objects import results
from featalign.inference.panoptic import find
from featalign.models import create_detector
from featalign.serve import Settings, create_app

SMALL = {"backbone": "resnet10t", "width": 16, "min_size": None, "anchors": (8, 16, 32, 64, 128), "detections": 4}


@pytest.fixture(scope="module")
def detectors():
    torch.manual_seed(0)
    boxes = create_detector("mask_rcnn", classes=["disc", "square"], **SMALL).eval()
    segments = create_detector("panoptic_fpn", classes=["disc", "sky", "grass"], things=[0], **SMALL).eval()
    return {"boxes": boxes, "segments": segments}


@pytest.fixture
def both(predictor, detectors):
    app = create_app({"small": predictor}, Settings(), detectors=detectors, device="cpu")
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def test_objects_in_numbers(both, send, detectors, photo):
    response = send(both, "/v1/detect", threshold=0.0, masks=True)
    assert response.status_code == 200, response.text
    answer, expected = response.json(), find(detectors["boxes"], photo, threshold=0.0, device="cpu")
    assert (answer["model"], answer["height"], answer["width"]) == ("boxes", 48, 64)
    assert len(answer["found"]) == len(expected) > 0
    for row, box, label in zip(answer["found"], expected.boxes.tolist(), expected.labels.tolist(), strict=True):
        left, top, right, bottom = box
        np.testing.assert_allclose(row["bbox"], [left, top, right - left, bottom - top], atol=0.01)
        assert row["name"] == ("disc", "square")[row["class_id"]] and row["class_id"] == label
        assert row["mask"]["size"] == [48, 64]
    none = send(both, "/v1/detect", threshold=1.0).json()
    assert none["found"] == []


def test_masks_that_are_not_asked_for_are_not_encoded(both, send, monkeypatch):
    monkeypatch.setattr(results, "encode", None)
    found = send(both, "/v1/detect", threshold=0.0, masks=False).json()["found"]
    assert found and all(row["mask"] is None for row in found)


def test_segments_and_their_picture(both, send, detectors, photo):
    rows = send(both, "/v1/detect", model="segments").json()["found"]
    picture = send(both, "/v1/detect", model="segments", output="segments")
    numbers = np.asarray(Image.open(io.BytesIO(picture.content)).convert("RGB")).astype(int) @ (1, 256, 256**2)
    np.testing.assert_array_equal(numbers, find(detectors["segments"], photo, device="cpu").segments)
    assert rows and {row["id"]: row["area"] for row in rows} == {
        int(number): int((numbers == number).sum()) for number in np.unique(numbers) if number
    }


def test_overlay(both, send):
    picture = Image.open(io.BytesIO(send(both, "/v1/detect", output="overlay", threshold=0.0).content))
    assert picture.mode == "RGB" and picture.size[1] == 48


@pytest.mark.parametrize(
    ("parameters", "status", "message"),
    [
        ({"model": "small"}, 409, "ask /v1/segment"),
        ({"model": "boxs"}, 404, "boxes"),
        ({"model": "boxes", "output": "segments"}, 409, "may overlap"),
        ({"threshold": 2}, 422, "threshold"),
        ({"output": "polygons"}, 422, "output"),
    ],
)
def test_refusals(both, send, parameters, status, message):
    response = send(both, "/v1/detect", **parameters)
    assert response.status_code == status and message in response.text


def test_a_file_that_is_no_image(both, send):
    assert send(both, "/v1/detect", image=b"nothing").status_code in (400, 415, 422)


def test_gray_images_reach_a_network_of_colours(both, send, photo):
    assert send(both, "/v1/detect", image=encoded(photo[..., 0])).status_code == 200


def test_models_are_listed_with_what_they_find(both):
    listed = {row["name"]: row for row in both.get("/v1/models").json()}
    assert {name: row["objects"] for name, row in listed.items()} == {"small": False, "boxes": True, "segments": True}


def test_without_detectors(client, send):
    response = send(client, "/v1/detect")
    assert response.status_code == 409 and "small" in response.text
