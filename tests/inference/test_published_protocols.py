"""Multi-scale and sliding inference of the published evaluation code, from its stored outputs."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from golden import Fixture
from torch import Tensor

from featalign.inference.averaging import Average
from featalign.inference.budget import Budget, Needs
from featalign.inference.picture import Picture
from featalign.inference.views import Views
from featalign.spec import Classes, Normalization

pytestmark = pytest.mark.golden


class Stub:
    """The network of the fixtures: one convolution, its answer resized with aligned corners."""

    def __init__(self, weights: dict[str, Tensor], stride: int) -> None:
        self.weight, self.bias, self.stride = weights["conv.weight"], weights["conv.bias"], stride
        self.classes = Classes.numbered(len(self.bias))
        self.in_channels, self.normalization = 3, Normalization()

    def __call__(self, images: Tensor, size: tuple[int, int] | None = None, mode: str = "auto") -> Tensor:
        logits = F.conv2d(images, self.weight, self.bias, stride=self.stride, padding=2)
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=True)


def average(
    network: Stub, image: Tensor, *, input_size: tuple[int, int] | None = None, rows: int = 0, **views: object
) -> Tensor:
    """The answer (1, K, H, W) at the image's size, ``rows`` at a time (0: at once), for a normalized image."""
    size = (image.shape[-2], image.shape[-1])
    asked = Views(**views)
    seen = asked.of(input_size or size, size)
    needs = Needs(
        batch=1, channels=3, classes=7, image=size, output=size, views=seen, flips=len(asked.flips), encoder=None
    )
    budget = None if rows == 0 else needs.total(rows, keep=False)
    found = Average(
        network=network,
        picture=Picture(image, lambda part: part, aligned=True),
        views=asked,
        seen=seen,
        output=size,
        budget=Budget(needs, budget, lambda: 2**40),
        mode="auto",
        context=nullcontext,
        device=torch.device("cpu"),
    )
    return found.answers()


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-5, check_dtype=False)


@pytest.fixture(scope="module")
def ifa(golden_dir: Path) -> Fixture:
    return Fixture(golden_dir / "infer_ifa")


@pytest.fixture(scope="module")
def alignseg(golden_dir: Path) -> Fixture:
    return Fixture(golden_dir / "infer_alignseg")


def ifa_size(image: Tensor, base: int, scale: float) -> tuple[int, int]:
    """The published code scales the longer side to ``scale * base`` and rounds the shorter one after."""
    height, width = image.shape[-2:]
    long = round(scale * base)
    return (long, round(long / height * width)) if height > width else (round(long / width * height), long)


@pytest.mark.parametrize("rows", [0, 5])
def test_ifa_crops_at_every_scale(ifa, rows):
    network = Stub(ifa.weights, stride=1)
    for case in ifa.meta["cases"]:
        name, total = case["case"], 0
        image = ifa.io[f"{name}/in/image"]
        for scale in case["scales"]:
            size = ifa_size(image, case["base_size"], scale)
            got = average(network, image, input_size=size, rows=rows, window=tuple(case["crop"]), published="ifa")
            total += got[0]
            if f"{name}/out/crop_scale{scale:g}" in ifa.io:
                close(got[0], ifa.io[f"{name}/out/crop_scale{scale:g}"])
        close(total, ifa.io[f"{name}/out/crop_sum"])
        agree = (total.argmax(0) == ifa.io[f"{name}/out/crop_argmax"]).float().mean()
        assert agree == 1


@pytest.mark.parametrize("rows", [0, 5])
def test_ifa_whole_images(ifa, rows):
    network = Stub(ifa.weights, stride=1)
    for case in ifa.meta["cases"]:
        image = ifa.io[f"{case['case']}/in/image"]
        got = average(network, image, rows=rows, scales=tuple(case["scales"]), published="ifa")
        close(got[0] * len(case["scales"]), ifa.io[f"{case['case']}/out/whole_sum"])


@pytest.mark.parametrize("rows", [0, 5])
def test_alignseg_averages_logits(alignseg, rows):
    network = Stub(alignseg.weights, stride=4)
    for case in alignseg.meta["cases"]:
        name = case["case"]
        image = alignseg.io[f"{name}/in/image"]
        window = tuple(case["tile"])
        sliding = average(network, image, rows=rows, window=window, published="alignseg")
        close(sliding.permute(0, 2, 3, 1), alignseg.io[f"{name}/out/sliding"])
        close(sliding.permute(0, 2, 3, 1), alignseg.io[f"{name}/out/multiscale_1"])
        whole = average(network, image, rows=rows, published="alignseg")
        close(whole.permute(0, 2, 3, 1), alignseg.io[f"{name}/out/whole"])


def test_alignsegs_flip_is_one_of_rows(alignseg):
    """Its evaluation mirrors columns going in and rows coming out, which can help no score: it is not offered."""
    network = Stub(alignseg.weights, stride=4)
    for case in alignseg.meta["cases"]:
        image, window = alignseg.io[f"{case['case']}/in/image"], tuple(case["tile"])
        straight = average(network, image, window=window, published="alignseg")
        mirrored = average(network, image.flip(-1), window=window, published="alignseg")
        expected = alignseg.io[f"{case['case']}/out/multiscale_1_flip_bug"]
        close((straight + mirrored.flip(-2)).permute(0, 2, 3, 1) / 2, expected)
