"""The drawn images that a file is tried on look to the network like those that it knows."""

from __future__ import annotations

import pytest
import torch

from featalign.export.images import trial_images
from featalign.export.metadata import ExportInfo
from featalign.spec import Classes, Normalization

MEASURED = Normalization((0.01, 0.02, 0.05, 0.01, 0.03, 0.04), (0.004, 0.002, 0.02, 0.001, 0.01, 0.02), 65535.0)


@pytest.mark.parametrize(
    ("normalization", "channels"),
    [
        (Normalization(), 3),
        (Normalization.for_channels(5), 5),
        (Normalization.for_channels(2, depth=16), 2),
        (MEASURED, 6),
    ],
)
def test_values_are_within_what_the_network_is_used_to(normalization, channels):
    info = ExportInfo(Classes.numbered(2), channels, normalization, "dense", "fp32", None, {"name": "fpn"}, "0.1.0")
    for image in trial_images(None, info):
        assert image.shape[:2] == (1, channels) and image.dtype == getattr(torch, info.pixels)
        mean, deviation = (torch.tensor(v)[:, None, None] for v in (normalization.mean, normalization.std))
        normalized = (image[0] / normalization.scale - mean) / deviation
        step = 1 / (normalization.scale * min(normalization.std))
        assert normalized.abs().max() <= 2 + step and normalized.std() > 0.4
