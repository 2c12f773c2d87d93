"""The drawn images that a network is tried on look to the network like those that it knows."""

from __future__ import annotations

import pytest
import torch

from featalign.inference.trial_images import trial_images
from featalign.spec import Normalization

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
    for image in trial_images(None, channels=channels, normalization=normalization, size=(40, 56)):
        assert image.shape == (1, channels, 40, 56) and bool((image == image.round()).all())
        assert image.dtype == (torch.uint8 if normalization.depth == 8 else torch.float32)
        mean, deviation = (torch.tensor(v)[:, None, None] for v in (normalization.mean, normalization.std))
        normalized = (image[0] / normalization.scale - mean) / deviation
        step = 1 / (normalization.scale * min(normalization.std))
        assert normalized.abs().max() <= 2 + step and normalized.std() > 0.4
