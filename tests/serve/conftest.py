"""A small network whose answers vary, images, and a client of its service."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

import featalign

pytest.importorskip("fastapi", reason="needs featalign[serve]")
from starlette.testclient import TestClient

from featalign.serve import Settings, create_app

CLASSES = 5


def make_model(seed: int, in_channels: int = 3) -> torch.nn.Module:
    """Untrained, but with several classes in its answers: the last bias takes away their mean difference."""
    torch.manual_seed(seed)
    model = featalign.create_model(
        "fpn", align="ifa", backbone="resnet18", classes=CLASSES, width=32, in_channels=in_channels
    ).eval()
    with torch.no_grad():
        mean = model(torch.randn(2, in_channels, 64, 64)).mean((0, 2, 3))
        last = [bias for name, bias in model.named_parameters() if bias.shape == (CLASSES,) and "auxiliary" not in name]
        last[-1].sub_(mean)
    return model


@pytest.fixture(scope="session")
def predictor() -> featalign.Predictor:
    return featalign.Predictor(make_model(0), device="cpu")


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """uint8 (48, 64, 3), smooth with some noise."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return np.array(small.resize((64, 48), Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def png(photo) -> bytes:
    return encoded(photo)


@pytest.fixture
def serve(predictor):
    """Starts a service with settings of one's own; stopped after the test."""
    running = []

    def start(models=None, **settings) -> TestClient:
        client = TestClient(
            create_app(models or {"small": predictor}, Settings(**settings)),
            base_url="http://localhost",
            raise_server_exceptions=False,
        )
        running.append(client)
        return client.__enter__()

    yield start
    for client in running:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve) -> TestClient:
    return serve()


@pytest.fixture
def send(png):
    """Posts an image."""

    def post(client: TestClient, path: str = "/v1/segment", image: bytes = png, **parameters):
        return client.post(path, params=parameters, files={"image": ("photo.png", image, "image/png")})

    return post
