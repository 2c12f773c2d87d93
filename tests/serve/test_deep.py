"""Images of 16 bits, for models that read them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from serve.conftest import encoded, make_model
from serve.test_segment import labels_of

import featalign
from featalign.data import normalize
from featalign.inference.predictor import as_images
from featalign.spec import Normalization


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """uint16 (40, 56, 6), of 12 bits."""
    coarse = np.random.default_rng(0).integers(0, 4096, (5, 7, 6))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint16)


def deep(channels: int) -> featalign.Predictor:
    model = make_model(0, channels)
    model.normalization = Normalization((0.03,), (0.02,), 65535.0)
    return featalign.Predictor(model, device="cpu")


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def geotiff(path: Path, array: np.ndarray, **options: object) -> bytes:
    rasterio = pytest.importorskip("rasterio", reason="needs featalign[geo]")
    height, width, count = array.shape
    form = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": array.dtype, **options}
    with rasterio.open(path, "w", **form) as file:
        file.write(array.transpose(2, 0, 1))
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_several_channels(serve, send, pixels, tmp_path):
    predictor = deep(6)
    client = serve({"deep": predictor})
    expected = predictor(pixels).labels
    assert len(np.unique(expected)) >= 2
    for image in (npy(pixels), geotiff(tmp_path / "a.tif", pixels)):
        np.testing.assert_array_equal(labels_of(send(client, image=image)), expected)
    (info,) = client.get("/v1/models").json()
    assert (info["channels"], info["depth"]) == (6, 16)


def test_grey_its_picture_and_points(serve, send, pixels):
    predictor, grey = deep(1), pixels[..., :1]
    client = serve({"deep": predictor})
    image = encoded(grey[..., 0])
    np.testing.assert_array_equal(labels_of(send(client, image=image)), predictor(grey).labels)
    picture = send(client, "/v1/segment", image, output="overlay")
    assert np.asarray(Image.open(io.BytesIO(picture.content))).mean() > 60  # not as dark as 12 bits of 16 are
    kept = send(client, "/v1/images", image).json()
    found = client.post("/v1/query", json={"id": kept["id"], "points": [[0.5, 0.5], [0.1, 0.9]]}).json()
    features = predictor.model.encode(normalize(as_images(grey), predictor.model.normalization))
    expected = predictor.model.query(features, torch.tensor([[[0.5, 0.5], [0.1, 0.9]]]))
    assert [point["class_id"] for point in found["points"]] == expected[0].argmax(0).tolist()


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_what_is_refused(serve, send, pixels, tmp_path):
    client = serve({"deep": deep(6), "grey": deep(1)}, max_pixels=40 * 56)
    large = np.zeros((8, 500, 6), np.uint16)
    tiled = geotiff(tmp_path / "tiled.tif", large[:, :16], tiled=True, blockxsize=256, blockysize=256)
    for image, model, status, message in (
        (npy(pixels.astype(np.uint8)), "deep", 415, "expected uint16"),
        (npy(pixels[..., :5]), "deep", 415, "expected uint16 (H, W, 6)"),
        (geotiff(tmp_path / "five.tif", pixels[..., :5]), "deep", 415, "5 channels of uint16, expected 6"),
        (geotiff(tmp_path / "large.tif", large), "deep", 413, "4,000 pixels"),
        (tiled, "deep", 413, "65,536 pixels"),
        (b"II*\0\xff\xff", "deep", 422, "image"),
        (encoded(np.zeros((4, 5, 3), np.uint8)), "grey", 415, "8 bits per channel"),
    ):
        response = send(client, image=image, model=model)
        assert response.status_code == status and message in response.json()["detail"], response.text
