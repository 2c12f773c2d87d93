from __future__ import annotations

import math

import pytest
import torch

from featalign.metrics.windows import disk_union, window_max


@pytest.mark.parametrize("size", [(7, 11), (1, 9), (9, 1), (1, 1)])
@pytest.mark.parametrize("reach", [0, 1, 3, 6, 20])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_window_max_equals_a_loop(size: tuple[int, int], reach: int, dtype: torch.dtype) -> None:
    maps = torch.randint(0, 200, size, generator=torch.Generator().manual_seed(reach)).to(dtype)
    expected = [
        [maps[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].max() for x in range(size[1])]
        for y in range(size[0])
    ]
    assert window_max(maps, reach).tolist() == [[int(value) for value in row] for row in expected]


@pytest.mark.parametrize("size", [(9, 12), (1, 9), (9, 1), (3, 3)])
@pytest.mark.parametrize("radius", [0, 0.9, 1, 1.5, 2, 2.24, 5, 14.3])
def test_disk_union_equals_a_loop(size: tuple[int, int], radius: float) -> None:
    bits = 1 << torch.randint(0, 31, size, generator=torch.Generator().manual_seed(2), dtype=torch.int32)
    bits[torch.rand(size, generator=torch.Generator().manual_seed(3)) < 0.7] = 0
    expected = torch.zeros_like(bits)
    for y in range(size[0]):
        for x in range(size[1]):
            for v in range(size[0]):
                for u in range(size[1]):
                    if math.dist((y, x), (v, u)) <= radius:
                        expected[y, x] |= bits[v, u]
    assert torch.equal(disk_union(bits, radius), expected)
