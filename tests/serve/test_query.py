"""Points of an image that is encoded once."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import featalign
from featalign.data import normalize
from featalign.export import ExportedModel
from featalign.export.metadata import ExportInfo
from featalign.models.network import Features
from featalign.serve.problems import TooLargeError, UnknownError
from featalign.serve.sessions import Kept, Sessions

POINTS = [[0.1, 0.2], [0.9, 0.5], [0.0, 1.0]]


def keep(client, send, **parameters) -> str:
    response = send(client, "/v1/images", **parameters)
    assert response.status_code == 201, response.text
    return response.json()["id"]


def test_answers_are_the_models(client, send, predictor, photo):
    name = keep(client, send)
    answer = client.post("/v1/query", json={"id": name, "points": POINTS, "probabilities": True}).json()
    images = normalize(torch.from_numpy(photo.copy()).permute(2, 0, 1)[None], predictor.model.normalization)
    with torch.no_grad():
        logits = predictor.model.query(predictor.model.encode(images), torch.tensor([POINTS]))
    expected = logits[0].softmax(0).T.numpy()
    found = np.array([point["probabilities"] for point in answer["points"]])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [point["class_id"] for point in answer["points"]] == expected.argmax(1).tolist()
    assert [point["probability"] for point in answer["points"]] == pytest.approx(expected.max(1).tolist(), abs=1e-5)
    assert answer["points"][0]["name"] == f"class {answer['points'][0]['class_id']}"


@pytest.mark.parametrize("input_size", [(96, 40), (70, 1)])
def test_resized_images_are_those_that_are_segmented(client, send, predictor, photo, input_size):
    name = keep(client, send, input_size="x".join(map(str, input_size)))
    expected = predictor(photo, size=(4, 3), input_size=input_size, probabilities=True).probabilities
    centres = [[(column + 0.5) / 3, (row + 0.5) / 4] for row in range(4) for column in range(3)]
    answer = client.post("/v1/query", json={"id": name, "points": centres, "probabilities": True}).json()
    found = np.array([point["probabilities"] for point in answer["points"]])
    np.testing.assert_allclose(found, expected.reshape(len(predictor.model.classes), -1).T, atol=1e-5)


def test_encoding_happens_once(client, send, predictor, monkeypatch):
    calls = []
    encode = predictor.model.encode
    monkeypatch.setattr(predictor.model, "encode", lambda images: calls.append(images.shape) or encode(images))
    name = keep(client, send, input_size="32x40")
    for _ in range(3):
        assert client.post("/v1/query", json={"id": name, "points": POINTS}).status_code == 200
    assert calls == [(1, 3, 32, 40)]


def test_ids_end(serve, send):
    client = serve(keep_for=0.01)
    name = keep(client, send)
    import time

    time.sleep(0.05)
    response = client.post("/v1/query", json={"id": name, "points": POINTS})
    assert response.status_code == 404 and "/v1/images" in response.json()["detail"]


def test_forgetting(client, send):
    name = keep(client, send)
    assert client.delete(f"/v1/images/{name}").status_code == 204
    assert client.delete(f"/v1/images/{name}").status_code == 404
    assert client.post("/v1/query", json={"id": name, "points": POINTS}).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"points": POINTS},
        {"id": "x"},
        {"id": "x", "points": []},
        {"id": "x", "points": [[0.1]]},
        {"id": "x", "points": [[0.1, 1.01]]},
        {"id": "x", "points": [["a", 0]]},
        {"id": "x", "points": POINTS, "point": 1},
        [],
    ],
)
def test_bad_queries(client, body):
    assert client.post("/v1/query", json=body).status_code == 422


def test_the_first_fault_is_told_and_no_other_looked_for(client):
    detail = client.post("/v1/query", json={"id": "x", "points": [[2, 0]] * 50}).json()["detail"]
    assert detail == "points.0.0: Input should be less than or equal to 1 (got '2')"
    detail = client.post("/v1/query", json={"point": 1} | {str(i): 0 for i in range(50)}).json()["detail"]
    assert detail == 'body: no field "point"; did you mean "points"?'


@pytest.mark.parametrize("points", ["[2,2]," * 1000 + "[2,2]", '{"a":1},' * 1000 + "{}", " " * 10_000])
def test_what_cannot_be_so_few_points_is_not_parsed(serve, monkeypatch, points):
    client = serve(max_points=10)
    monkeypatch.setattr("json.loads", None)
    body = '{"id": "x", "points": [' + points + "]}"
    response = client.post("/v1/query", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 413 and b"longer than one of 10 points" in response.content


def test_as_many_points_as_allowed_in_the_longest_form(serve, send):
    client = serve(max_points=500)
    body = json.dumps({"id": keep(client, send), "points": [[1.2345678901234567e-05] * 2] * 500}, indent=4)
    response = client.post("/v1/query", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(("body", "place"), [("[1", 2), ('{"id": "x", points', 12), (" ", 1)])
def test_what_is_no_json(client, body, place):
    response = client.post("/v1/query", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["detail"].startswith(f"body: no valid JSON at character {place} (Expecting ")


def test_no_more_points_than_allowed(serve, send):
    client = serve(max_points=2)
    response = client.post("/v1/query", json={"id": keep(client, send), "points": POINTS})
    assert response.status_code == 413 and "at most 2" in response.json()["detail"]


class Whole:
    """A network as an exported file is one: it answers for whole images only."""

    def __init__(self, model):
        self.classes, self.in_channels, self.normalization = model.classes, model.in_channels, model.normalization
        self.model = model

    def __call__(self, images, size=None, mode="auto"):
        return self.model(images, size=size, mode=mode)


def test_exported_models_answer_images_but_not_points(serve, send, predictor):
    client = serve({"file": featalign.Predictor(Whole(predictor.model), device="cpu")})
    assert send(client).status_code == 200
    assert client.get("/v1/models").json()[0]["points"] is False
    response = send(client, "/v1/images")
    assert response.status_code == 409 and "serve the run" in response.json()["detail"]


class Fixed:
    """Runs a network as a file of one size is run."""

    def __init__(self, model, size):
        self.model = model
        self.info = ExportInfo(
            classes=model.classes,
            in_channels=model.in_channels,
            normalization=model.normalization,
            mode="resized",
            precision="fp32",
            size=size,
            model={},
            version="",
        )

    def run(self, pixels, size):
        return self.model(normalize(torch.from_numpy(pixels), self.model.normalization)).detach().numpy()


def test_files_of_one_size_answer_images_brought_to_it(serve, send, predictor):
    file = ExportedModel(Fixed(predictor.model, (96, 128)), digest="")
    client = serve({"file": featalign.Predictor(file, device="cpu")})
    assert client.get("/ready").status_code == 200
    for _ in range(6):
        response = send(client)
        assert response.status_code == 422 and "takes images of 96x128 only" in response.json()["detail"]
    assert client.get("/ready").status_code == 200, "a wrong request is no fault of the service"
    assert send(client, input_size="96x128").status_code == 200


def kept(kilobytes: int) -> Kept:
    return Kept("m", Features([torch.zeros(kilobytes * 256)], (4,), (1, 1), (1, 1)), (1, 1))


def test_room_is_made_by_what_was_asked_longest_ago():
    sessions = Sessions(keep_for=60, max_bytes=10 * 1024)
    first, second = sessions.put(kept(4)), sessions.put(kept(4))
    sessions.get(first)
    third = sessions.put(kept(4))
    assert sessions.bytes == 8 * 1024 and len(sessions) == 2
    sessions.get(first), sessions.get(third)
    with pytest.raises(UnknownError):
        sessions.get(second)
    with pytest.raises(TooLargeError, match="input_size"):
        sessions.put(kept(11))


def test_time_begins_anew_when_asked():
    now = [0.0]
    sessions = Sessions(keep_for=10, max_bytes=2**20, clock=lambda: now[0])
    asked, forgotten = sessions.put(kept(1)), sessions.put(kept(1))
    now[0] = 8
    sessions.get(asked)
    now[0] = 15
    sessions.expire()
    assert len(sessions) == 1 and sessions.get(asked)
    with pytest.raises(UnknownError):
        sessions.get(forgotten)
