"""Averages over scales, mirror images and windows, against full tensors of probabilities averaged the plain way."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.data import normalize
from featalign.errors import ConfigError
from featalign.inference import Predictor
from featalign.inference.picture import Picture
from featalign.models import Segmentor, create_model
from featalign.models.network import Mode


@pytest.fixture(scope="module")
def model() -> Segmentor:
    torch.manual_seed(0)
    model = create_model("fpn", align="ifa", classes=5, backbone="resnet10t", width=8, hidden=(12,)).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.5)  # answers that differ from place to place
    return model


def images(height: int, width: int, count: int = 1) -> Tensor:
    drawn = torch.Generator().manual_seed(height * 1000 + width)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=drawn)


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    x = x.contiguous(memory_format=torch.channels_last)  # in the other layout torch is wrong for one column
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", antialias=True)


def naive(
    model: Segmentor, pixels: Tensor, size: tuple[int, int], scales: tuple[float, ...], flip: bool, mode: Mode = "auto"
) -> Tensor:
    """Every view's probabilities as one tensor at the full size, then their mean."""
    seen = normalize(pixels, model.normalization)
    found = []
    with torch.no_grad():
        for scale in scales:
            view = resized(seen, tuple(max(1, round(side * scale)) for side in pixels.shape[-2:]))
            found.append(model(view, size, mode).softmax(1))
            if flip:
                found.append(model(view.flip(-1), size, mode).flip(-1).softmax(1))
    return torch.stack(found).mean(0)


def probabilities(predictor: Predictor, pixels: Tensor, **options: object) -> Tensor:
    image = pixels[0].permute(1, 2, 0).numpy()
    return torch.from_numpy(predictor(image, probabilities=True, **options).probabilities)[None]


@pytest.mark.parametrize("mode", ["dense", "resized"])
@pytest.mark.parametrize(
    ("scales", "flip", "size"),
    [
        ((1.0,), False, (47, 61)),
        ((1.0,), True, (50, 33)),
        ((0.5, 1.0, 1.5), True, (47, 61)),
        ((0.01, 2.0), True, (30, 90)),  # the smaller view has one pixel
    ],
)
def test_average_of_scales_and_mirror_images(model, mode, scales, flip, size):
    pixels = images(47, 61)
    predictor = Predictor(model, device="cpu", scales=scales, flip=flip, mode=mode)
    got = probabilities(predictor, pixels, size=size)
    torch.testing.assert_close(got, naive(model, pixels, size, scales, flip, mode), rtol=0, atol=2e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (33, 33), (7, 2)])
def test_every_size_has_a_mirror_image(model, shape):
    pixels = images(*shape)
    predictor = Predictor(model, device="cpu", scales=(0.5, 1, 2), flip=True, window=(128, 128))
    got = probabilities(predictor, pixels)
    torch.testing.assert_close(got, naive(model, pixels, shape, (0.5, 1, 2), True), rtol=0, atol=5e-5)
    mirrored = probabilities(predictor, pixels.flip(-1)).flip(-1)
    torch.testing.assert_close(mirrored, got, rtol=0, atol=5e-5)


def test_labels_of_a_batch(model):
    pixels = images(20, 31, count=3)
    predictor = Predictor(model, device="cpu", scales=(1, 1.5), flip=True)
    labels = predictor.labels(pixels, size=(40, 62))
    assert labels.dtype == torch.uint8 and labels.shape == (3, 40, 62)
    expected = naive(model, pixels, (40, 62), (1, 1.5), True)
    best = expected.topk(2, dim=1).values
    clear = best[:, 0] - best[:, 1] > 1e-5
    assert clear.float().mean() > 0.99 and (labels == expected.argmax(1))[clear].all()
    assert (labels[1] == predictor.labels(pixels[1:2], size=(40, 62))[0])[clear[1]].all()


def windows_naive(model: Segmentor, pixels: Tensor, window: int, stride: int, mode: Mode) -> Tensor:
    """At scale 1 and the image's own size: windows cut by hand, probabilities divided by how many there are."""
    seen = normalize(pixels, model.normalization)
    height, width = pixels.shape[-2:]
    total, count = torch.zeros(1, 5, height, width), torch.zeros(height, width)
    tops, lefts = (
        sorted({min(start, side - window) for start in range(0, side - window + stride, stride)})
        for side in (height, width)
    )
    for top, left in itertools.product(tops, lefts):
        place = (slice(None), slice(None), slice(top, top + window), slice(left, left + window))
        with torch.no_grad():
            total[place] += model(seen[place], None, mode).softmax(1)
        count[place[2:]] += 1
    return total / count


@pytest.mark.parametrize(("overlap", "stride"), [(1 / 3, 22), (0, 33), (0.5, 17)])
def test_windows(model, overlap, stride):
    pixels = images(70, 101)
    predictor = Predictor(model, device="cpu", window=(33, 33), overlap=overlap, mode="dense")
    got = probabilities(predictor, pixels)
    torch.testing.assert_close(got, windows_naive(model, pixels, 33, stride, "dense"), rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [(70, 101), (35, 51), (93, 200), (141, 203)])
@pytest.mark.parametrize("overlap", [0, 0.4])
def test_windows_answer_every_pixel_once_at_any_size(model, size, overlap):
    predictor = Predictor(model, device="cpu", window=(32, 50), overlap=overlap, scales=(0.7, 1.3))
    found = probabilities(predictor, images(70, 101), size=size)
    assert found.shape == (1, 5, *size)
    torch.testing.assert_close(found.sum(1), torch.ones(1, *size), rtol=0, atol=1e-5)


def test_windows_larger_than_the_image_change_nothing(model):
    pixels = images(20, 31)
    whole = Predictor(model, device="cpu", scales=(0.5, 1))
    through = Predictor(model, device="cpu", scales=(0.5, 1), window=(500, 31))
    assert torch.equal(whole.labels(pixels), through.labels(pixels))


def test_windows_too_small_for_the_answers_pixels_are_refused(model):
    with pytest.raises(ConfigError, match="take at least 11"):
        Predictor(model, device="cpu", window=(8, 8)).labels(images(60, 60), size=(6, 6))


@pytest.mark.parametrize("mode", ["dense", "resized"])
def test_a_box_is_a_part_of_the_whole(model, mode):
    pixels = images(40, 60)
    for options in ({}, {"scales": (0.5, 1, 1.5), "flip": True}, {"window": (24, 24)}):
        predictor = Predictor(model, device="cpu", mode=mode, **options)
        whole = probabilities(predictor, pixels)
        part = probabilities(predictor, pixels, box=(0.25, 0.5, 0.75, 0.9))
        torch.testing.assert_close(part, whole[:, :, 20:36, 15:45], rtol=0, atol=5e-6)
    with pytest.raises(ConfigError, match="box"):
        predictor.labels(pixels, box=(0.5, 0, 0.5, 1))


class Whole:
    """What an exported file offers: whole answers, no features."""

    def __init__(self, model: Segmentor) -> None:
        self._model = model
        self.classes, self.in_channels, self.normalization = model.classes, model.in_channels, model.normalization

    def __call__(self, images: Tensor, size: tuple[int, int] | None = None, mode: Mode = "auto") -> Tensor:
        return self._model(images, size, mode)


def test_a_network_without_features_answers_alike(model):
    pixels = images(40, 60)
    for options in ({}, {"scales": (0.5, 1), "flip": True}, {"window": (24, 24)}):
        ours = probabilities(Predictor(model, device="cpu", mode="dense", **options), pixels)
        theirs = probabilities(Predictor(Whole(model), device="cpu", mode="dense", **options), pixels)
        torch.testing.assert_close(theirs, ours, rtol=0, atol=2e-6)


def test_an_image_is_made_ready_once(model, monkeypatch):
    shown, part = [], Picture.part
    monkeypatch.setattr(Picture, "part", lambda self, *window: shown.append(window) or part(self, *window))
    pixels = images(40, 60)
    labels = [Predictor(network, device="cpu", mode="dense").labels(pixels) for network in (model, Whole(model))]
    assert len(shown) == 2 and torch.equal(*labels)


@pytest.mark.parametrize("options", [{"scales": ()}, {"scales": (0,)}, {"scales": (-1,)}, {"scales": (float("nan"),)}])
def test_scales_that_are_none(model, options):
    with pytest.raises(ConfigError, match="scales"):
        Predictor(model, device="cpu", **options)


@pytest.mark.parametrize("options", [{"window": (0, 4)}, {"overlap": 1.0}, {"overlap": -0.1}, {"published": "ifaa"}])
def test_other_views_that_are_none(model, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Predictor(model, device="cpu", **options)
