from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors

from featalign.data import Sample, normalize, train_transform
from featalign.data.transforms import RandomScaleCrop, crop_scaled_image, crop_scaled_mask
from featalign.errors import ConfigError
from featalign.spec import Normalization

sides = st.integers(1, 30)


def sample(height: int, width: int, channels: int = 3) -> Sample:
    generator = torch.Generator().manual_seed(height * 100 + width)
    image = torch.randint(0, 256, (height, width, channels), dtype=torch.uint8, generator=generator).permute(2, 0, 1)
    mask = torch.randint(0, 5, (height, width), generator=generator)
    return {"image": tv_tensors.Image(image), "mask": tv_tensors.Mask(mask), "name": "x"}


def lay_and_cut(scaled: np.ndarray, corner: tuple[int, int], crop: tuple[int, int], fill: list[int]) -> np.ndarray:
    """Pad and crop the plain way: lay the whole scaled image on a large canvas of ``fill``, cut."""
    margin = max(*crop)
    height, width = scaled.shape[:2]
    canvas = np.empty((height + 2 * margin, width + 2 * margin, *scaled.shape[2:]), scaled.dtype)
    canvas[:] = fill
    canvas[margin : margin + height, margin : margin + width] = scaled
    top, left = corner[0] + margin, corner[1] + margin
    return canvas[top : top + crop[0], left : left + crop[1]]


def triangle(side: int, scaled: int) -> np.ndarray:
    """Bilinear weights (scaled, side), widened for antialiasing where the side shrinks, in 64 bits."""
    step = side / scaled
    centers = (np.arange(scaled)[:, None] + 0.5) * step
    weights = np.clip(1 - np.abs(np.arange(side) + 0.5 - centers) / max(step, 1), 0, None)
    return weights / weights.sum(axis=1, keepdims=True)


def nearest(side: int, scaled: int) -> list[int]:
    """For each pixel of the scaled side, the source pixel that contains its centre, in exact numbers."""
    centers = [Fraction(2 * i + 1, 2) * side / scaled for i in range(scaled)]
    return [next(k for k in range(side) if k <= center < k + 1) for center in centers]


@settings(max_examples=50, deadline=None)
@given(size=st.tuples(sides, sides), scaled=st.tuples(sides, sides), crop=st.tuples(sides, sides), where=st.data())
def test_crop_of_a_part_equals_scaling_everything(
    size: tuple[int, int], scaled: tuple[int, int], crop: tuple[int, int], where: st.DataObject
) -> None:
    slacks = [s - c for s, c in zip(scaled, crop, strict=True)]
    top, left = (where.draw(st.integers(min(slack, 0), max(slack, 0))) for slack in slacks)
    corner = (top, left)
    image, mask = sample(*size)["image"], sample(*size)["mask"]
    rows, columns = (triangle(s, t) for s, t in zip(size, scaled, strict=True))
    whole = np.einsum("yh,chw,xw->yxc", rows, image.numpy().astype(float), columns)
    want = lay_and_cut(whole, corner, crop, [1, 2, 3])
    got = crop_scaled_image(image, scaled, corner, crop, [1, 2, 3]).permute(1, 2, 0).numpy()
    assert np.abs(got - want).max() < 1.01  # rows and columns are each rounded to 8 bits
    ids = mask.numpy()[np.ix_(*(nearest(s, t) for s, t in zip(size, scaled, strict=True)))]
    np.testing.assert_array_equal(
        crop_scaled_mask(mask, scaled, corner, crop, 255), lay_and_cut(ids, corner, crop, [255])
    )


def test_channels_do_not_mix() -> None:
    four = sample(20, 30, 4)["image"]
    together = crop_scaled_image(four, (11, 17), (2, 3), (8, 8), [0])
    alone = torch.cat([crop_scaled_image(four[c : c + 1], (11, 17), (2, 3), (8, 8), [0]) for c in range(4)])
    assert torch.equal(together, alone)
    rgb = crop_scaled_image(four[:3], (11, 17), (2, 3), (8, 8), [0])
    assert torch.equal(together[:3], rgb)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_image_and_mask_stay_together(scale: float) -> None:
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    mask = ((rows // 24 + columns // 32) % 2).long()
    image = (mask * 255).byte()[:, :, None].expand(-1, -1, 3).contiguous().permute(2, 0, 1)
    augment = train_transform(crop=64, scales=(scale, scale))
    torch.manual_seed(0)
    for _ in range(10):
        out = augment({"image": tv_tensors.Image(image), "mask": tv_tensors.Mask(mask), "name": "x"})
        known = out["mask"] != 255
        assert torch.equal((out["image"][0] > 127)[known], (out["mask"] == 1)[known])


@pytest.mark.parametrize("crop", [3, 6])
def test_every_position_is_equally_likely(crop: int) -> None:
    step = RandomScaleCrop((crop, crop), (1.0, 1.0), 255, None)
    torch.manual_seed(0)
    flat = [sample(4, 5)["image"]]
    corners = Counter(tuple(step.make_params(flat)["corner"]) for _ in range(3000))
    rows, columns = (range(-2, 1), range(-1, 1)) if crop == 6 else (range(2), range(3))
    expected = set(itertools.product(rows, columns))
    assert set(corners) == expected
    share = 3000 / len(expected)
    assert all(abs(count - share) < 5 * share**0.5 for count in corners.values())


def test_scale_is_uniform() -> None:
    step = RandomScaleCrop((8, 8), (0.5, 2.0), 255, None)
    torch.manual_seed(0)
    scales = np.array([step.make_params([sample(100, 200)["image"]])["scaled"] for _ in range(1500)]) / (100, 200)
    np.testing.assert_allclose(scales[:, 0], scales[:, 1], atol=0.0076)
    assert scales.min() >= 0.5 and scales.max() <= 2.0
    np.testing.assert_allclose(np.quantile(scales[:, 1], [0.25, 0.5, 0.75]), [0.875, 1.25, 1.625], atol=0.06)


def test_padding_is_ignored_and_about_zero_once_normalized() -> None:
    torch.manual_seed(0)
    out = train_transform(crop=(16, 20), scales=(0.5, 0.5), flip=0)(sample(4, 4))
    assert out["image"].shape == (3, 16, 20) and out["mask"].shape == (16, 20)
    assert isinstance(out["image"], tv_tensors.Image) and isinstance(out["mask"], tv_tensors.Mask)
    padding = out["mask"] == 255
    assert padding.sum() == 16 * 20 - 4
    assert normalize(out["image"], Normalization())[:, padding].abs().max() < 0.01
    own = Normalization((0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    out = train_transform(crop=16, ignore_index=9, normalization=own)(sample(4, 4))
    assert normalize(out["image"], own)[:, out["mask"] == 9].abs().max() < 0.002


def test_flip_turns_both() -> None:
    given = sample(6, 7)
    out = train_transform(crop=(6, 7), scales=(1, 1), flip=1)(given)
    assert torch.equal(out["image"], given["image"].flip(-1)) and torch.equal(out["mask"], given["mask"].flip(-1))


def test_no_change_is_possible() -> None:
    given = sample(6, 7)
    out = train_transform(crop=(6, 7), scales=(1, 1), flip=0)(given)
    assert torch.equal(out["image"], given["image"]) and torch.equal(out["mask"], given["mask"])


def test_jitter_changes_images_alone_and_not_itself_when_seeded() -> None:
    given = sample(6, 7)
    augment = train_transform(crop=(6, 7), scales=(1, 1), flip=0, jitter=0.5)
    torch.manual_seed(1)
    first = augment(given)
    torch.manual_seed(1)
    second = augment(given)
    assert torch.equal(first["image"], second["image"]) and not torch.equal(first["image"], given["image"])
    assert torch.equal(first["mask"], given["mask"])


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_other_channels(channels: int) -> None:
    assert train_transform(crop=9)(sample(6, 7, channels))["image"].shape == (channels, 9, 9)
    if channels != 1:
        with pytest.raises(ConfigError, match=f"1 or 3 channels, got {channels}; set jitter to 0"):
            train_transform(crop=9, jitter=0.1)(sample(6, 7, channels))


def test_options_out_of_range() -> None:
    with pytest.raises(ConfigError, match="crop must be at least 1 x 1, got 0 x 4"):
        train_transform(crop=(0, 4))
    for scales in ((2, 1), (0, 1)):
        with pytest.raises(ConfigError, match="scales must be"):
            train_transform(crop=4, scales=scales)
    with pytest.raises(ConfigError, match=r"flip must be in 0 … 1, got 1\.5"):
        train_transform(crop=4, flip=1.5)
    with pytest.raises(ConfigError, match="jitter must be"):
        train_transform(crop=4, jitter=-1)


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5)])
def test_normalize_is_the_formula(shape: tuple[int, ...]) -> None:
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    want = ((images.movedim(-3, -1) / 255 - mean) / std).movedim(-1, -3)
    got = normalize(images, Normalization())
    assert got.dtype == torch.float32 and type(got) is torch.Tensor
    torch.testing.assert_close(got, want)


def test_normalize_one_value_serves_all_channels() -> None:
    images = torch.full((5, 2, 2), 255, dtype=torch.uint8)
    assert normalize(images, Normalization.for_channels(5)).unique().tolist() == [2.0]


def test_normalize_refuses_floats_and_other_channels() -> None:
    with pytest.raises(ConfigError, match="expects uint8"):
        normalize(torch.zeros(3, 2, 2), Normalization())
    with pytest.raises(ConfigError, match="images of 4 channels"):
        normalize(torch.zeros(4, 2, 2, dtype=torch.uint8), Normalization())
    with pytest.raises(ConfigError, match="images of 4 channels"):
        train_transform(crop=4, normalization=Normalization())(sample(6, 7, 4))
