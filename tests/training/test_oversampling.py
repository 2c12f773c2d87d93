from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from featalign.data import EndlessBatches
from featalign.errors import DataError
from featalign.training.oversampling import RareClassBatches, class_chances

COUNTS = torch.tensor([[90, 0, 0]] * 8 + [[80, 5, 0], [80, 0, 10]])  # image 8 has class 1, image 9 class 2


def drawn(share: float, *, seed: int = 0, batches: int = 300) -> list[int]:
    sampler = RareClassBatches(COUNTS, share=share, batch=4, seed=seed, stop=batches)
    return [draw.index for batch in sampler for draw in batch]


def test_rare_images_come_more_often():
    shares = {share: Counter(drawn(share)) for share in (0.0, 0.5, 1.0)}
    assert [shares[0.0][index] for index in range(10)] == [120] * 10
    assert shares[0.5][8] + shares[0.5][9] == pytest.approx(0.6 * 1200, rel=0.1)
    assert set(shares[1.0]) == {8, 9}


def test_without_a_share_it_is_the_plain_stream():
    plain = EndlessBatches(10, batch=4, seed=3, stop=20)
    assert list(RareClassBatches(COUNTS, share=0.0, batch=4, seed=3, stop=20)) == list(plain)


def test_draw_depends_on_seed_and_position_alone():
    sampler = RareClassBatches(COUNTS, share=0.5, batch=4, seed=3, stop=20)
    batches = list(sampler)
    assert [sampler.at(k) for k in (7, 3, 7)] == [batches[7], batches[3], batches[7]]
    assert drawn(0.5, seed=1) != drawn(0.5, seed=2)
    ranks = [RareClassBatches(COUNTS, share=0.5, batch=2, seed=3, stop=20, rank=r, ranks=2) for r in (0, 1)]
    for k, batch in enumerate(sampler):
        assert batch == [draw for rank in ranks for draw in rank.at(k)]


def test_chances_of_the_paper():
    """DAFormer, equations 5 and 6, term by term."""
    pixels = np.array([970, 20, 10, 0])
    frequencies = pixels[:3] / 1000
    expected = np.exp((1 - frequencies) / 0.01) / np.exp((1 - frequencies) / 0.01).sum()
    np.testing.assert_allclose(class_chances(pixels), [*expected, 0], rtol=1e-12)


def test_nothing_labelled():
    with pytest.raises(DataError, match="no pixel of the training split is labelled"):
        RareClassBatches(torch.zeros(3, 2, dtype=torch.int64), share=0.5, batch=1, seed=0, stop=1)
